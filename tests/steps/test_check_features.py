"""check_features on the toy: what it reports, when it holds, and that it stops a run only where configured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.artifacts.evaluation import CLEANING
from pipelines.artifacts.trials import Trials
from pipelines.context import Context
from pipelines.errors import CheckFailed
from pipelines.params.features import Health
from pipelines.steps import execute
from pipelines.usecase import FeatureTable
from tests.artifacts import DOCUMENTS, require_as_written
from tests.conftest import tree_hashes

START = date(2024, 3, 1)
Copy = Callable[[Path], Context]


def days(first: int, last: int) -> dict[str, str]:
    return {"start": str(START + timedelta(first)), "end": str(START + timedelta(last))}


def with_health(context: Context, **changes: Any) -> Context:
    features = context.params.features
    rules = Health.model_validate({**features.health.model_dump(), **changes})
    params = context.params.model_copy(update={"features": features.model_copy(update={"health": rules})})
    return Context(context.settings, params, context.usecase)


def rewrite(context: Context, day: int, change: Callable[[pa.Table], pa.Table]) -> None:
    uri = context.data.partition("features", "pump_heat", START + timedelta(day))
    context.data.store.write_table(uri, change(context.data.store.read_table(uri)))


def replaced(name: str, values: Callable[[list[Any]], list[Any]]) -> Callable[[pa.Table], pa.Table]:
    def change(rows: pa.Table) -> pa.Table:
        column = pa.array(values(rows[name].to_pylist()), rows.schema.field(name).type)
        return rows.set_column(rows.column_names.index(name), name, column)

    return change


def test_healthy_features_pass_and_a_second_run_gives_the_same_report(toy_home: Path, copy_of: Copy) -> None:
    context = copy_of(toy_home)
    outputs = execute("check_features", days(30, 37), context)
    assert outputs["verdict"] == "PASS", outputs["reasons"]
    report = context.data.store.read_json(outputs["report_uri"])
    heat = report["views"]["pump_heat"]
    assert heat["rows"] == 7 * 60 and heat["reference_rows"] == 7 * 60 and heat["entities"] == 60
    assert heat["metrics"]["rows_ratio"] == 1 and heat["features"]["heat_3d"]["reference"]["min"] < 0
    assert set(report["views"]) == {"pump_heat", "pump_maker"}
    decision = context.decisions.get(outputs["decision_id"])
    assert decision is not None and (decision["kind"], decision["verdict"]) == ("features", "PASS")
    before = tree_hashes(Path(context.data.uri("reports")))
    assert execute("check_features", days(30, 37), context) == outputs
    assert tree_hashes(Path(context.data.uri("reports"))) == before


def test_the_first_days_have_no_reference_days(toy_home: Path, copy_of: Copy) -> None:
    context = copy_of(toy_home)
    outputs = execute("check_features", days(0, 3), context)
    assert outputs["verdict"] == "HOLD"
    assert outputs["reasons"] == [
        "pump_heat: no row is known of the days before the window, so it cannot be held against them"
    ]
    assert context.decisions.get(outputs["decision_id"])["verdict"] == "HOLD"  # type: ignore[index]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            replaced("heat_3d", lambda v: [None] * 30 + v[30:]),
            r"null_rate_rise is 0\.5000, but must be at most 0\.25 \(heat_3d\)",
        ),
        (replaced("heat_3d", lambda v: [float("nan")] * 60), r"null_rate is 1\.0000"),
        (replaced("heat_3d", lambda v: [100 * x for x in v]), r"out_of_range_share is 0\.\d+"),
        (lambda rows: rows.slice(0, 20), r"rows_ratio is 0\.3333, but must be at least 0\.5"),
        (lambda rows: rows.slice(0, 0), r"it has no row in the window"),
        (lambda rows: rows.drop_columns(["heat_3d"]), r"could not be measured: .* lacks the columns heat_3d"),
    ],
)
def test_unhealthy_features_hold_and_are_named(toy_home: Path, copy_of: Copy, change: Any, reason: str) -> None:
    context = copy_of(toy_home)
    rewrite(context, 36, change)
    outputs = execute("check_features", days(36, 37), context)
    assert outputs["verdict"] == "HOLD"
    (why,) = [why for why in outputs["reasons"] if pa.compute.match_substring_regex(pa.array([why]), reason)[0].as_py()]
    assert why.startswith("pump_heat: ")
    with pytest.raises(CheckFailed, match=reason):
        execute("check_features", days(36, 37), with_health(context, stop=True))


def test_missing_or_broken_features_hold(toy_home: Path, copy_of: Copy) -> None:
    context = copy_of(toy_home)
    place = Path(context.data.partition("features", "pump_heat", START + timedelta(36)))
    place.write_bytes(place.read_bytes()[:50])
    outputs = execute("check_features", days(36, 37), context)
    assert outputs["verdict"] == "HOLD" and "pump_heat: it could not be measured" in outputs["reasons"][0]
    place.unlink()
    Path(context.data.partition("features", "pump_maker", None)).unlink()
    outputs = execute("check_features", days(35, 38), context)
    assert outputs["reasons"] == [
        "pump_heat: it lacks 1 of the window's days (first: 2024-04-06); build the features",
        "pump_maker: it is not built; build the features",
    ]


def test_an_undeclared_table_and_a_use_case_without_tables_hold(toy_home: Path, copy_of: Copy) -> None:
    context = copy_of(toy_home)
    cold = FeatureTable("pump_cold", ("pump",), ("readings",))
    for tables, reason in (((cold,), "pump_cold: it is not declared to Feast"), ((), "there is no view")):
        usecase: Any = replace(context.usecase, feature_tables=tables)  # type: ignore[type-var]
        outputs = execute("check_features", days(36, 37), Context(context.settings, context.params, usecase))
        assert outputs["verdict"] == "HOLD" and outputs["reasons"][0].startswith(reason)


def test_monitoring_includes_the_feature_reports_of_its_days(toy_home: Path, copy_of: Copy) -> None:
    from tests.conftest import run_monitoring, run_training

    context = copy_of(toy_home)
    run_training(context, START + timedelta(50), "r1", "d1", families=["hist_gradient_boosting"])
    rewrite(context, 53, lambda rows: rows.slice(0, 20))
    for day in (51, 53):
        execute("check_features", days(day, day + 1), context)
    first, last = START + timedelta(50), START + timedelta(58)
    outputs = run_monitoring(context, first, last, last, "m1")
    summary = context.data.store.read_json(outputs["report_drift"]["summary_uri"])["feature_health"]
    assert summary["windows"] == 3  # the whole history is checked when it is built
    assert summary["held_by_view"] == {"pump_heat": 2, "pump_maker": 0}
    assert any(why.startswith("2024-04-23: pump_heat: rows_ratio") for why in summary["reasons"])
    page = context.data.store.read_bytes(outputs["report_drift"]["report_uri"]).decode()
    assert "Health checks of the features held 2 of 3 windows (pump_heat 2 times)" in page
    files = require_as_written(context)
    assert {*DOCUMENTS, Trials.FILE, CLEANING, "2024-04-21_2024-04-22.json"} <= files
