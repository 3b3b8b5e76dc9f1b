"""`build_features` writes no rows that their view does not declare, and no two rows of one key and instant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.context import Context
from pipelines.errors import CorruptData
from pipelines.features import declared
from pipelines.steps import execute
from pipelines.usecase import UseCase
from tests.conftest import tree_hashes
from tests.unit.test_contract import Misnamed, Twice, Wrong

DAYS = {"start": "2024-04-01", "end": "2024-04-03"}


@pytest.mark.parametrize("built", [True, False], ids=["built before", "never built"])
@pytest.mark.parametrize(
    ("usecase", "message"),
    [
        (Misnamed(), "pump_heat lacks heat_1d, which its view declares; let `build` give it"),
        (Twice(), r"pump_heat has two rows of pump 7 with known_at 2024-04-01T05:35:00\+00:00 \(2 such pairs\); give"),
    ],
)
def test_refused_rows_are_not_written(
    toy_home: Path, copy_of: Callable[[Path], Context], usecase: Wrong, message: str, built: bool
) -> None:
    context = replace(copy_of(toy_home), usecase=usecase)
    if not built:
        context.data.store.delete(context.data.uri("features"))
    features = context.settings.root / "data" / "pumps" / "features"
    before = tree_hashes(features)
    with pytest.raises(CorruptData, match=message):
        execute("build_features", DAYS, context)
    assert tree_hashes(features) == before


def test_feast_is_consulted_for_new_columns_only(
    toy_home: Path, copy_of: Callable[[Path], Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    context, names = copy_of(toy_home), list[str]()
    views_of = declared.views_of

    def noted(usecase: UseCase) -> Any:
        names.append(usecase.name)
        return views_of(usecase)

    monkeypatch.setattr(declared, "views_of", noted)
    execute("build_features", DAYS, context)
    assert not names, "Feast takes seconds to import"
    context.data.store.delete(context.data.uri("features"))
    execute("build_features", DAYS, context)
    assert names == [context.usecase.name] * len(context.usecase.feature_tables)
