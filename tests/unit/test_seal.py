"""A sealed file is read as it was written, and refused once anything in it has changed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.artifacts.seal import DIGESTS, read_sealed, sealed, write_sealed
from pipelines.errors import CorruptData, MissingData
from pipelines.store import Store
from tests.editing import edit, rewrite
from tests.examples import costly

VALUE = {"metrics": {"roc_auc": 0.7}, "window": ("2024-03-01", "2024-04-01"), DIGESTS: {"scored.parquet": "s"}}
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
nested = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
values = st.dictionaries(st.text(), nested)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_sealed(Store(str(tmp_path)), str(tmp_path / "a.json"), VALUE)
    return tmp_path / "a.json"


def read(file: Path) -> dict[str, Any]:
    return read_sealed(Store(str(file.parent)), str(file), "make it again")


def test_a_sealed_file_is_read_with_its_digests_of_other_files(file: Path) -> None:
    content = read(file)
    assert content["metrics"] == VALUE["metrics"] and content["window"] == ["2024-03-01", "2024-04-01"]
    assert set(content[DIGESTS]) == {"scored.parquet", "a.json"} and content[DIGESTS]["scored.parquet"] == "s"


@costly()
@given(values)
def test_sealing_is_idempotent_and_independent_of_key_order(value: dict[str, Any]) -> None:
    value.pop(DIGESTS, None)
    once = sealed(value, "a.json")
    assert sealed(once, "a.json") == once == sealed(dict(reversed(value.items())), "a.json")
    assert sealed({**once, "more": 1}, "a.json")[DIGESTS] != once[DIGESTS] or "more" in value


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v["metrics"].update(roc_auc=0.70001),
        lambda v: v["metrics"].update(roc_auc=math.nan),
        lambda v: v["metrics"].update(more=None),
        lambda v: v.pop("window"),
        lambda v: v[DIGESTS].update({"scored.parquet": "t"}),
        lambda v: v[DIGESTS].update({"a.json": None}),
    ],
)
def test_any_change_is_detected_and_reported_with_the_remedy(file: Path, change: Any) -> None:
    edit(file, change)
    with pytest.raises(CorruptData, match=r"a\.json was altered.*restore it, or make it again"):
        read(file)
    rewrite(file, lambda _: None)
    read(file)


@pytest.mark.parametrize("content", [[], None, {}, {DIGESTS: None}, {DIGESTS: []}, {DIGESTS: {"b.json": "s"}}])
def test_an_unsealed_file_is_refused(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content))
    with pytest.raises(CorruptData, match="carries no digest of its own; make it again"):
        read(file)
    file.unlink()
    with pytest.raises(MissingData):
        read(file)


def test_a_renamed_file_is_refused(file: Path) -> None:
    with pytest.raises(CorruptData, match="carries no digest"):
        read(file.rename(file.with_name("b.json")))
