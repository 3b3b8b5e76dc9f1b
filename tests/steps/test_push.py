"""Pushes move the online store forward, leave nothing out, and never back."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.context import Context, build_context
from pipelines.errors import MissingData
from pipelines.features.stream import OnlineStore
from pipelines.instants import midnight
from pipelines.online import read_online
from pipelines.online.standing import online_stands_at
from pipelines.steps import execute
from pipelines.usecase import KNOWN_AT
from tests.conftest import TOY, run_data
from tests.homes import copy_home, put_back

START = date(2024, 3, 1)
REFS = ["pump_heat:heat_1d", "pump_heat:heat_3d", "pump_maker:age"]
MOMENT = timedelta(microseconds=1)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A home validated and built for twelve days, and online as of the tenth; and a copy of it."""
    folder = tmp_path_factory.mktemp("push")
    toy = build_context(TOY, folder / "home")
    run_data(toy, START, START + timedelta(9))
    window = {"start": str(START + timedelta(9)), "end": str(START + timedelta(12))}
    for step in ("ingest", "validate", "build_features"):
        execute(step, window, toy)
    copy_home(folder / "home", folder / "kept")
    return folder / "home", folder / "kept"


@pytest.fixture
def pumps(template: tuple[Path, Path]) -> Context:
    """The home as it was."""
    return build_context(TOY, put_back(*template))


def test_a_push_writes_what_became_known_since_the_last_one(pumps: Context) -> None:
    stood = online_stands_at(pumps.feast)
    assert stood == midnight(START + timedelta(9), pumps.usecase.timezone)
    at = stood + timedelta(hours=7, minutes=35)  # when the tenth day's readings are known
    assert execute("push_features", {"until": (at - MOMENT).isoformat()}, pumps)["rows"] == {
        "pump_heat": 0,
        "pump_maker": 60,
    }
    assert execute("push_features", {"until": at.isoformat()}, pumps)["rows"] == {"pump_heat": 60}
    assert online_stands_at(pumps.feast) == at + MOMENT
    tenth = pumps.data.partition("features", "pump_heat", START + timedelta(9))
    offline = {row["pump"]: row for row in pumps.data.store.read_table(tenth).to_pylist()}
    for pump, row in offline.items():
        (online,) = read_online(pumps.feast, REFS, [{"pump": pump}], at)
        assert (online.values["heat_1d"], online.values["heat_3d"]) == (row["heat_1d"], row["heat_3d"])
        assert online.ages["heat_3d"] == at - row[KNOWN_AT]


def test_pushes_may_be_repeated_or_late_or_far_apart(pumps: Context) -> None:
    until = midnight(START + timedelta(12), pumps.usecase.timezone) - MOMENT
    assert (
        execute("push_features", {"until": until.isoformat()}, pumps)["rows"]["pump_heat"] == 60
    )  # the newest of each
    for late in (until, until - timedelta(days=1)):
        again = execute("push_features", {"until": late.isoformat()}, pumps)
        assert again["rows"] == {} and online_stands_at(pumps.feast) == until + MOMENT
    assert not execute("materialize", {"as_of": (until + MOMENT).isoformat()}, pumps)["moved"]
    assert execute("check_parity", {"as_of": (until + MOMENT).isoformat()}, pumps)["verdict"] == "PASS"


def test_a_push_needs_a_materialized_store_and_validated_days(pumps: Context) -> None:
    beyond = midnight(START + timedelta(12), pumps.usecase.timezone)
    with pytest.raises(MissingData, match="validated/readings lacks 1 of the days"):
        execute("push_features", {"until": beyond.isoformat()}, pumps)
    assert online_stands_at(pumps.feast) == midnight(START + timedelta(9), pumps.usecase.timezone)


def test_a_push_to_an_empty_store_names_the_step_to_run_first(toy: Context) -> None:
    execute("apply_features", {}, toy)
    with pytest.raises(MissingData, match="materialize it first"):
        execute("push_features", {"until": "2024-03-05T06:00:00Z"}, toy)


def test_values_that_are_missing_replace_those_that_were_there(pumps: Context) -> None:
    at = midnight(START + timedelta(9), pumps.usecase.timezone)
    rows = pumps.data.store.read_table(pumps.data.partition("features", "pump_heat", START + timedelta(8))).to_pandas()
    gone = rows.assign(heat_1d=float("nan"), heat_3d=float("nan"), known_at=at)
    assert OnlineStore(pumps.feast).push("pump_heat", ("pump",), pa.Table.from_pandas(gone)) == len(rows)
    (online,) = read_online(pumps.feast, REFS, [{"pump": rows.pump[0]}], at)
    assert online.values["heat_3d"] is None and online.values["age"] is not None
