"""Two registries: everything that is declared, functions included, and what serves, which holds no code."""

from __future__ import annotations

import builtins
import shutil
import sqlite3
from datetime import date
from pathlib import Path
from typing import Any

import dill  # type: ignore[import-untyped]  # it has no annotations
import pandas as pd
import pytest

from pipelines.context import Context, build_context
from pipelines.errors import InvalidInput
from pipelines.offline.repository import open_declared
from pipelines.point_in_time import load_examples
from pipelines.request_columns import with_features
from pipelines.steps import execute
from tests.conftest import ROOT, TOY
from tests.services import thorough

CODE = (b"request_features", b"reading_hour", b"calendar", b"def ", b"import ", b"dill", b"user_defined_function")


def path(uri: str) -> Path:
    return Path(uri.removeprefix("sqlite:///"))


def values(file: Path) -> dict[str, list[bytes]]:
    """Every value of every table of a database, as bytes."""
    with sqlite3.connect(file) as database:
        tables = [name for (name,) in database.execute("select name from sqlite_master where type = 'table'")]
        return {
            table: [
                value if isinstance(value, bytes) else str(value).encode()
                for row in database.execute(f'select * from "{table}"')
                for value in row
            ]
            for table in tables
        }


@pytest.mark.parametrize("params", [ROOT / "params.yaml", TOY], ids=["flights", "toy"])
def test_the_serving_registry_holds_no_function(params: Path, tmp_path: Path) -> None:
    context = build_context(params, tmp_path)
    for _ in range(2):  # a second time changes nothing
        outputs = execute("apply_features", {}, context)
    served, declared = (
        values(path(of(context.usecase.name))) for of in (context.settings.registry, context.settings.declared_registry)
    )
    assert not served["on_demand_feature_views"] and declared["on_demand_feature_views"]
    words = {word for table in served.values() for value in table for word in CODE if word in value}
    assert not words
    assert any(b"with_features" in value for value in declared["on_demand_feature_views"]), "where code is, it is seen"
    assert set(outputs["services"]) == set(context.usecase.model_inputs)


def test_opening_the_serving_registry_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = build_context(TOY, tmp_path)
    execute("apply_features", {}, writer)
    ran: list[str] = []
    inner = builtins.exec
    monkeypatch.setattr(dill, "loads", lambda body: ran.append("dill.loads"))

    def seen(code: Any, *scope: Any) -> None:
        if isinstance(code, str) and "def " in code:
            ran.append(code)
        inner(code, *scope)

    monkeypatch.setattr(builtins, "exec", seen)
    context = build_context(TOY, tmp_path)
    assert {service.name for service in context.feast.list_feature_services()} == {"pump_service_v1", "pump_service_v2"}
    context.feast.refresh_registry()
    assert not [code for code in ran if "reading_hour" in code or code == "dill.loads"]
    open_declared(context.settings, "pumps").list_on_demand_feature_views()
    assert [code for code in ran if "reading_hour" in code], "the other registry is the one that runs code"


def test_a_registry_with_functions_is_not_opened_for_serving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = build_context(TOY, tmp_path)
    execute("apply_features", {}, context)
    shutil.copy(path(context.settings.declared_registry("pumps")), path(context.settings.registry("pumps")))
    with pytest.raises(InvalidInput, match=r"holds functions.*on_demand_feature_views.*FLIGHTDECK_FEAST_REGISTRY"):
        _ = build_context(TOY, tmp_path).feast


@thorough
def test_feast_computes_on_demand_what_the_chain_computes_itself(flights: Context) -> None:
    window = {"start": "2013-03-08", "end": "2013-03-12"}  # the clocks change
    for step in ("ingest", "validate", "build_features"):
        execute(step, window, flights)
    execute("apply_features", {}, flights)
    examples = load_examples(flights, flights.window(date(2013, 3, 8), date(2013, 3, 12))).to_pandas()
    sample = with_features(flights.usecase, examples).sample(400, random_state=1).reset_index(drop=True)
    store = open_declared(flights.settings, "flights")
    service = store.get_feature_service("flight_delay_v2")
    columns = ["dep_minute", "dep_hour", "dep_weekday"]
    entities = sample.drop(columns=columns).rename(columns={"predicted_at": "event_timestamp"})
    frame = store.get_historical_features(entity_df=entities, features=service).to_df()
    ours = sample.set_index("example_id").loc[frame.example_id, columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(frame[columns], ours, check_dtype=False)
    plain = flights.feast.get_historical_features(
        entity_df=entities, features=flights.feast.get_feature_service("flight_delay_v2")
    ).to_df()
    assert not set(columns) & set(plain.columns)
    both = [each.set_index("example_id").sort_index() for each in (frame, plain)]
    pd.testing.assert_frame_equal(both[0][both[1].columns], both[1])
