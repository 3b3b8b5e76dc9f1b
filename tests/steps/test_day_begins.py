"""Rows known as a day begins, from the days before, are online as it begins, like the offline rows."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipelines.context import Context, build_context
from pipelines.declare import Events, Over, mean, trailing
from pipelines.derivation.staleness import stale_features
from pipelines.features.parity import offline_values, online_values, sample_entities
from pipelines.instants import midnight
from pipelines.online.standing import online_stands_at
from pipelines.steps import execute
from tests.conftest import TOY, run_data, tree_hashes
from tests.toy import USECASE

START, DAY = date(2024, 3, 1), timedelta(days=1)
HEAT = trailing(
    "pump_heat", ("pump",), Over(Events("readings", "read_at"), {"heat": mean("heat", decimals=3)}, (DAY, 3 * DAY))
)


@pytest.fixture
def desk(tmp_path: Path) -> Context:
    toy = build_context(TOY, tmp_path / "home")
    usecase: Any = replace(USECASE, feature_tables=(HEAT, USECASE.feature_tables[1]))
    return replace(toy, usecase=usecase)


def heat_online(context: Context, at: Any) -> pd.DataFrame:
    view = next(view for view in context.feast.list_feature_views() if view.name == "pump_heat")
    entities = sample_entities(context.feast, view, at, 20)
    online, offline = (of(context.feast, view, entities, at) for of in (online_values, offline_values))
    pd.testing.assert_frame_equal(online, offline)
    return online


def test_a_daily_run_builds_and_materializes_rows_known_at_the_next_midnight(desk: Context) -> None:
    run_data(desk, START, START + 5 * DAY)
    assert desk.data.periods("features", "pump_heat") == [START + n * DAY for n in range(6)]
    begins = midnight(START + 5 * DAY, USECASE.timezone)
    assert online_stands_at(desk.feast) == begins
    morning = heat_online(desk, begins + timedelta(hours=7))
    assert morning.notna().all(axis=None), "a request in the morning reads features of the last days"
    assert not stale_features(desk), "the rest of the day is left to its own run"


def test_the_run_of_that_day_leaves_those_rows_unchanged(desk: Context) -> None:
    run_data(desk, START, START + 5 * DAY)
    place = desk.data.partition("features", "pump_heat", START + 5 * DAY)
    before = (desk.data.store.digest(place), Path(place).stat().st_mtime_ns)
    outputs = run_data(desk, START + 5 * DAY, START + 6 * DAY)
    assert (desk.data.store.digest(place), Path(place).stat().st_mtime_ns) == before
    assert outputs["check_parity"]["verdict"] == "PASS" and outputs["materialize"]["written"]["pump_heat"] == 60
    again = execute("materialize", {"as_of": midnight(START + 6 * DAY, USECASE.timezone).isoformat()}, desk)
    assert not again["moved"] and not again["written"]


def test_day_by_day_runs_give_the_same_bytes_as_one_run(desk: Context, tmp_path: Path) -> None:
    whole = replace(build_context(TOY, tmp_path / "other"), usecase=desk.usecase)
    run_data(whole, START, START + 4 * DAY)
    for number in range(4):
        run_data(desk, START + number * DAY, START + (number + 1) * DAY)
    ours, theirs = (
        {name: digest for name, digest in tree_hashes(Path(context.data.uri())).items() if name.startswith("features")}
        for context in (desk, whole)
    )
    assert ours == theirs and len(ours) == 5 + 1


def test_nothing_is_built_past_the_last_day_of_the_source(desk: Context) -> None:
    usecase: Any = replace(desk.usecase, end=START + 3 * DAY)  # type: ignore[type-var]
    ended = replace(desk, usecase=usecase)
    run_data(ended, START, START + 3 * DAY)
    assert ended.data.periods("features", "pump_heat")[-1] == START + 2 * DAY
