"""The chain over partitions of an hour: any cut of a window leaves the same bytes, across a change of clocks."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipelines import console
from pipelines.artifacts.manifest import Manifest
from pipelines.artifacts.summary import Summary, read_summary
from pipelines.configuration import load
from pipelines.context import Context, build_context
from pipelines.errors import CorruptData, InvalidInput, MissingData
from pipelines.params.source import Files
from pipelines.periods import Calendar, Period, name_of
from pipelines.point_in_time import require_no_gap
from pipelines.records import DecisionKind
from pipelines.replay.world import read_world
from pipelines.steps import execute
from pipelines.usecase import DAY, PERIOD, RawTable
from tests import artifacts
from tests.conftest import TOY, run_data, run_monitoring, run_training, tree_hashes
from tests.homes import copy_home
from tests.services import thorough
from tests.toy_hours import USECASE

DESK = {"start": "2024-03-26", "end": "2024-04-08", "as_of": "2024-04-06"}
DESK |= {"monitor_start": "2024-04-06", "monitor_end": "2024-04-08"}
FORWARD = date(2024, 3, 31)  # clocks are set forward: 23 hours
FIRST = datetime(2024, 3, 29, 23, tzinfo=UTC)  # as 30 March begins in Berlin
HOUR = timedelta(hours=1)
ZONES = ("raw", "validated", "features")


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy's params over the shorter history of the hours."""
    values = load(TOY).in_force() | {"usecase": "tests.toy_hours", "desk": DESK}
    values["schedules"]["data"] = "0 * * * *"
    values["splits"] |= {"validation_days": 2, "test_days": 2, "embargo_days": 1}
    values["evaluation"] |= {"min_blocks": 1}  # one day of the two has matured labels
    values["features"]["health"]["reference_days"] = 2
    file = tmp_path_factory.mktemp("params") / "params.yaml"
    file.write_text(yaml.safe_dump(values))
    return file


@pytest.fixture
def hours(params: Path, tmp_path: Path) -> Context:
    return build_context(params, tmp_path / "home")


@pytest.fixture(scope="module")
def built(params: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the data chain has run over all hours. Read only."""
    home = tmp_path_factory.mktemp("hours")
    context = build_context(params, home)
    run_data(context, context.usecase.start, context.usecase.end)
    return home


@pytest.fixture
def home(params: Path, built: Path, tmp_path: Path) -> Context:
    """A context over a private copy of it."""
    copy_home(built, tmp_path / "copy")
    return build_context(params, tmp_path / "copy")


def run(context: Context, start: Period, end: Period, *steps: str) -> None:
    for step in steps or ("ingest", "validate", "build_features"):
        execute(step, {"start": start.isoformat(), "end": end.isoformat()}, context)


def trees(context: Context) -> dict[str, dict[str, str]]:
    return {zone: tree_hashes(Path(context.data.uri(zone))) for zone in ZONES}


def in_files(context: Context, folder: Path, start: Period, end: Period) -> Context:
    """The context with the same rows in a Parquet file for each hour."""
    window = context.window(start, end)
    for table in context.usecase.tables:
        (folder / table.name).mkdir(parents=True)
        for rows in context.usecase.read(table, window):
            if table.daily:
                for period in window.periods:
                    write_hour(folder, table.name, period, hour_of(rows, period))
            else:
                pq.write_table(rows, folder / table.name / "all.parquet")
    sources = {
        "readings": Files(kind="files", uri=f"{folder}/{{table}}/{{period}}.parquet"),
        "makers": Files(kind="files", uri=f"{folder}/{{table}}/all.parquet"),
    }
    return replace(context, params=context.params.model_copy(update={"sources": sources}))


def hour_of(rows: pa.Table, period: Period) -> pa.Table:
    frame = rows.to_pandas()
    inside = (frame.read_at >= period) & (frame.read_at < period + HOUR)
    return pa.Table.from_pandas(frame[inside], schema=rows.schema, preserve_index=False)


def write_hour(folder: Path, table: str, period: Period, rows: pa.Table) -> None:
    pq.write_table(rows, folder / table / f"{name_of(period)}.parquet")


@thorough
@pytest.mark.parametrize("cuts", [(1, 2, 26), (24, 25, 40)])
def test_any_cut_of_a_window_leaves_the_same_bytes(
    hours: Context, params: Path, tmp_path: Path, cuts: tuple[int, ...]
) -> None:
    whole = build_context(params, tmp_path / "whole")
    window = whole.window(FIRST, FIRST + 48 * HOUR)
    run(whole, window.start, window.end)
    bounds = [window.start, *(window.periods[n] for n in cuts), window.end]
    for start, end in pairwise(bounds):
        run(hours, start, end)
    assert trees(hours) == trees(whole)
    names = {path.name for path in Path(whole.data.uri("raw", "readings")).iterdir()}
    assert len(names) == 48 and "2024-03-31T010000Z.parquet" in names
    local = {whole.calendar.day_of(period) for period in whole.data.periods("features", "pump_heat")}
    assert local == {date(2024, 3, 30), FORWARD, date(2024, 4, 1)}


def test_a_file_for_each_hour_can_be_read_and_corrected_later(hours: Context, params: Path, tmp_path: Path) -> None:
    """What rests on a changed hour is built again: the same bytes as if it had been so from the beginning."""
    end, changed = FIRST + 30 * HOUR, FIRST + 3 * HOUR
    context = in_files(hours, tmp_path / "files", FIRST, end)
    run(context, FIRST, end)
    rows = pq.read_table(tmp_path / "files" / "readings" / f"{name_of(changed)}.parquet")
    heat = pa.array([9.0] * rows.num_rows, pa.float32())
    write_hour(tmp_path / "files", "readings", changed, rows.set_column(rows.column_names.index("heat"), "heat", heat))
    ingestion = execute("ingest", {"start": changed.isoformat(), "end": (changed + HOUR).isoformat()}, context)
    assert ingestion["tables"]["readings"]["restated"] == [changed.isoformat()]
    assert ingestion["build_since"] == changed.isoformat() and ingestion["build_until"] == end.isoformat()
    run(context, changed, changed + HOUR, "validate")
    execute("build_features", {"start": ingestion["build_since"], "end": ingestion["build_until"]}, context)

    anew = replace(build_context(params, tmp_path / "anew"), params=context.params)
    run(anew, FIRST, end)
    assert trees(context) == trees(anew)
    lines = context.partitions.lines("readings", restated=True)
    assert [(line.period, line.added, line.removed) for line in lines] == [(name_of(changed), 12, 12)]


def test_a_file_with_rows_of_another_hour_is_refused(hours: Context, tmp_path: Path) -> None:
    context = in_files(hours, tmp_path / "files", FIRST, FIRST + 2 * HOUR)
    first, second = (tmp_path / "files" / "readings" / f"{name_of(FIRST + n * HOUR)}.parquet" for n in (0, 1))
    shutil.copy(second, first)
    with pytest.raises(CorruptData, match=r"is the file of 2024-03-29 23:00:00.* holds 12 rows of other periods"):
        run(context, FIRST, FIRST + 2 * HOUR, "ingest")
    second.unlink()
    with pytest.raises(MissingData, match=name_of(FIRST + HOUR)):
        run(context, FIRST + HOUR, FIRST + 2 * HOUR, "ingest")


def test_partitions_of_hours_have_no_day_column(home: Context) -> None:
    rows = home.data.store.read_table(home.data.partition("raw", "readings", FIRST))
    assert set(rows[PERIOD].to_pylist()) == {FIRST} and DAY not in rows.column_names
    assert len(home.data.periods("raw", "readings")) == 13 * 24 - 1


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        ("2024-03-31T02:00", "2024-04-01", "start: no period begins at 2024-03-31T02:00 in Europe/Berlin"),
        ("2024-03-30", "2024-03-30T12:30", "end: no period begins at 2024-03-30T12:30"),
        ("2024-03-30T05:00", "2024-03-30T05:00", "holds no period"),
        ("2024-03-30", "2024-05-01", "leaves the data of pumps_hours, which cover 2024-03-26 to 2024-04-08"),
        ("soon", "2024-03-30", "start: 'soon' is no period"),
    ],
)
def test_an_invalid_window_is_refused(hours: Context, start: str, end: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        execute("ingest", {"start": start, "end": end}, hours)


def test_a_missing_hour_is_named(home: Context) -> None:
    gone = FIRST + 5 * HOUR
    home.data.store.delete(home.data.partition("features", "pump_heat", gone))
    with pytest.raises(MissingData, match="features/pump_heat lacks 2024-03-30 04:00:00"):
        require_no_gap(home.data, home.usecase, FIRST + 10 * HOUR)
    examples = {"pump": ["1"], "event_timestamp": [FIRST + 8 * HOUR]}
    frame = pa.table(examples).to_pandas()
    with pytest.raises(MissingData, match="features/pump_heat lacks 2024-03-30 04:00:00"):
        home.feast.get_historical_features(entity_df=frame, features=["pump_heat:heat_3d"]).to_df()
    home.data.store.delete(home.data.partition("raw", "readings", gone))
    with pytest.raises(MissingData, match=r"raw/readings lacks 1 of the periods .*first: 2024-03-30 04:00:00"):
        run(home, FIRST, FIRST + 8 * HOUR, "validate")


@thorough
def test_from_training_to_the_decision_about_retraining(home: Context) -> None:
    version = execute("snapshot", {}, home)["data_version"]
    as_of = date(2024, 4, 6)
    outputs = run_training(home, as_of, "r1", version, families=["hist_gradient_boosting"])
    assert outputs["register"]["registered"], outputs["gate"]["reasons"]
    manifest = Manifest.read(home.data.store, outputs["build_training_set"]["training_set_uri"])
    assert manifest.windows["train"] == (home.usecase.start, FORWARD)
    assert manifest.rows["test"] == (48 - 24) * 12, "labels of the last day are to come"

    morning, noon = datetime(2024, 4, 5, 8, tzinfo=UTC), datetime(2024, 4, 7, 10, tzinfo=UTC)
    monitoring = run_monitoring(home, morning, noon, date(2024, 4, 8), "m1")
    assert monitoring["score"]["rows"] == 50 * 12 and monitoring["decide_retraining"]["verdict"] in ("KEEP", "RETRAIN")
    summary = read_summary(home.data.store, monitoring["report_drift"]["summary_uri"])
    assert summary.window == (morning, noon)
    assert home.decisions.all(DecisionKind.RETRAIN)[-1]["evidence"]["subject"]["window"] == [
        "2024-04-05T080000Z",
        "2024-04-07T100000Z",
    ]


def test_a_summary_of_other_hours_of_the_same_days_decides_nothing(hours: Context) -> None:
    window = (FIRST, FIRST + 6 * HOUR)
    folder = hours.data.uri("monitoring", "m1")
    inputs = {"summary_uri": Summary.place(folder), "as_of": FIRST + 24 * HOUR, "model_version": "3"}

    def decide(start: Period, end: Period) -> str:
        return str(execute("decide_retraining", {**inputs, "start": start, "end": end}, hours)["verdict"])

    artifacts.summary(window=window, as_of=inputs["as_of"]).write(hours.data.store, folder)
    assert decide(*window) == "HOLD"
    for start, end in ((FIRST, FIRST + 5 * HOUR), (FIRST + HOUR, window[1]), (FIRST, FIRST + 24 * HOUR)):
        with pytest.raises(InvalidInput, match="or run report_drift again on that window"):
            decide(start, end)
    days = (date(2024, 3, 30), date(2024, 3, 31))  # as summaries told windows before they told hours
    artifacts.summary(window=days, as_of=inputs["as_of"]).write(hours.data.store, folder)
    with pytest.raises(InvalidInput, match=r"2024-03-30 to 2024-03-31, not .* or run report_drift again"):
        decide(*window)


def test_the_online_store_follows_hour_by_hour(hours: Context) -> None:
    run(hours, FIRST, FIRST + 6 * HOUR)
    execute("apply_features", {}, hours)
    execute("materialize", {"as_of": (FIRST + 5 * HOUR).isoformat()}, hours)
    moved = execute("materialize", {"as_of": (FIRST + 6 * HOUR).isoformat()}, hours)
    assert moved["moved"] and moved["written"]["pump_heat"] == 12
    parity = execute("check_parity", {"as_of": (FIRST + 6 * HOUR).isoformat()}, hours)
    assert parity["verdict"] == "PASS"
    run(hours, FIRST + 6 * HOUR, FIRST + 7 * HOUR, "ingest", "validate")
    pushed = execute("push_features", {"until": (FIRST + 6.5 * HOUR).isoformat()}, hours)
    assert pushed["rows"] == {"pump_heat": 12}, "the makers are pushed as a day begins"
    with pytest.raises(MissingData, match="lacks 2024-03-30 05:00:00"):
        execute("materialize", {"as_of": (FIRST + 9 * HOUR).isoformat()}, hours)


def test_the_health_of_a_night_is_compared_with_the_days_before(home: Context) -> None:
    start = datetime(2024, 4, 4, 20, tzinfo=UTC)
    outputs = execute("check_features", {"start": start.isoformat(), "end": (start + 6 * HOUR).isoformat()}, home)
    assert outputs["verdict"] == "PASS" and outputs["report_uri"].endswith("2024-04-04T200000Z_2024-04-05T020000Z.json")


def test_rows_of_an_hour_are_released_from_quarantine(home: Context, capsys: pytest.CaptureFixture[str]) -> None:
    (period, *_) = home.data.periods("quarantine", "readings")
    answer: Callable[..., None] = console.answer
    command = {"step": "quarantine", "json": False, "verb": "list", "table": None}
    for of in (period.isoformat(), name_of(period), str(home.calendar.day_of(period))):  # a day: all of its hours
        answer({**command, "period": of}, home)
        assert name_of(period) in capsys.readouterr().out
    choice = {"verb": "release", "table": "readings", "period": name_of(period), "reason": "bad_load", "row": None}
    answer({**command, **choice, "why": "a heavy load", "actor": "ada"}, home)
    out = capsys.readouterr().out
    assert f"of {name_of(period)} are released" in out and "flightdeck build_features --start" in out
    assert period not in home.data.periods("quarantine", "readings")


def test_the_hours_of_a_night_are_replayed(home: Context) -> None:
    world = read_world(home, home.window("2024-04-04T22:00", "2024-04-05T02:00"))
    ticks = list(world.ticks(timedelta(minutes=30)))
    requests = [request["id"] for tick in ticks for request in tick.requests]
    assert len(set(requests)) == len(requests) == 4 * 12
    assert sum(len(rows) for tick in ticks for rows in tick.features.values()) == 4 * 12


def test_a_use_case_keeps_its_period(home: Context) -> None:
    daily = replace(home, usecase=replace(USECASE, period=timedelta(days=1)))
    with pytest.raises(
        InvalidInput, match=r"is no partition of 1 day, .*, the period of pumps_hours; give the use case another name"
    ):
        run(daily, date(2024, 3, 30), date(2024, 3, 31), "ingest")


def test_a_column_called_period_is_reserved_where_periods_have_it() -> None:
    from pipelines.sources.conform import conform
    from pipelines.sources.source import Piece

    table = RawTable("t", ("id",), {"id": "string", "at": "timestamp[us, UTC]"}, day="at")
    piece = Piece(pa.table({"id": ["a"], "at": pa.array([FIRST], pa.timestamp("us", "UTC")), "period": ["weekly"]}))
    assert conform(piece, table, Calendar("UTC"), "UTC")["period"].to_pylist() == ["weekly"]
    with pytest.raises(CorruptData, match="the name period is reserved"):
        conform(piece, table, Calendar("UTC", HOUR), "UTC")


def test_dvc_stages_can_write_down_their_code(home: Context, tmp_path: Path) -> None:
    console.answer({"step": "code", "json": False, "out": str(tmp_path / "code")}, home)
    assert (tmp_path / "code" / "ingest.json").exists()
