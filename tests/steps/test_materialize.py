"""Materialization: whatever the order of days, restatements, kills and pushes, the store holds what is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from pipelines.context import Context
from pipelines.errors import CheckFailed, InvalidInput, MissingData
from pipelines.features.deltas import OnlineState, delta
from pipelines.features.stream import OnlineStore
from pipelines.instants import midnight
from pipelines.online import read_online
from pipelines.online.opening import open_rows
from pipelines.online.rows import Span
from pipelines.online.standing import note_online_stands_at, online_stands_at
from pipelines.periods import Calendar
from pipelines.steps import execute
from tests.commands import flightdeck
from tests.conftest import TOY
from tests.homes import copy_home
from tests.redis_fixtures import redis_server  # noqa: F401
from tests.services import thorough

START, LAST = date(2024, 3, 1), 14
BERLIN = "Europe/Berlin"
REFS = ["pump_heat:heat_3d", "pump_maker:age"]
PUMPS = [{"pump": str(n)} for n in range(60)]
Copy = Callable[[Path], Context]


def at(day: int) -> datetime:
    return midnight(START + timedelta(day), BERLIN)


def materialize(context: Context, day: int) -> dict[str, Any]:
    return execute("materialize", {"as_of": at(day).isoformat()}, context)


def online(context: Context, as_of: datetime) -> list[Any]:
    return [(row.values, row.ages) for row in read_online(context.feast, REFS, PUMPS, as_of)]


def built(context: Context, first: int, last: int) -> None:
    days = {"start": str(START + timedelta(first)), "end": str(START + timedelta(last))}
    for step in ("ingest", "validate", "build_features"):
        execute(step, days, context)


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the features of LAST days, declared to Feast, and an empty online store. Read only."""
    from pipelines.context import build_context

    home = tmp_path_factory.mktemp("features")
    context = build_context(TOY, home)
    built(context, 0, LAST)
    execute("apply_features", {}, context)
    return home


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=thorough)])
def toys(request: pytest.FixtureRequest, features: Path, tmp_path: Path) -> Callable[[], Context]:
    """Contexts over private copies of the features, each with an empty online store."""

    from pipelines.context import build_context

    copies = 0

    def copy() -> Context:
        nonlocal copies
        copies += 1
        home = tmp_path / str(copies)
        copy_home(features, home)
        context = build_context(TOY, home)
        if request.param == "redis":
            place = f"{request.getfixturevalue('redis_server')}/{copies}"
            context = replace(context, settings=context.settings.model_copy(update={"feast_online": place}))
            open_rows(context.feast)._redis.flushdb()  # type: ignore[attr-defined]
        return context

    return copy


@pytest.fixture
def toy(toys: Callable[[], Context]) -> Context:
    return toys()


def partition(context: Context, day: int) -> str:
    return context.data.partition("features", "pump_heat", START + timedelta(day))


def restate(context: Context, day: int, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    place = partition(context, day)
    table = context.data.store.read_table(place)
    frame = change(table.to_pandas())
    context.data.store.write_table(place, pa.Table.from_pandas(frame, schema=table.schema, preserve_index=False))


def test_day_by_day_runs_give_the_same_as_one_run(toys: Callable[[], Context]) -> None:
    once, daily = toys(), toys()
    everything = {"pump_heat": 60, "pump_maker": 60}
    assert materialize(once, LAST)["written"] == everything
    assert [materialize(daily, day)["written"] for day in (1, 2, 3, LAST)] == [
        everything,
        *[{"pump_heat": 60, "pump_maker": 0}] * 3,
    ]
    assert online(once, at(LAST)) == online(daily, at(LAST))
    feasts = daily.feast.get_online_features(REFS, PUMPS).to_dict()
    assert [values["heat_3d"] for values, _ in online(daily, at(LAST))] == feasts["heat_3d"]
    assert execute("check_parity", {"as_of": at(LAST).isoformat()}, daily)["verdict"] == "PASS"
    assert materialize(daily, LAST) == {
        "as_of": at(LAST).isoformat().replace("+00:00", "Z"),
        "moved": False,
        "written": {},
    }


def test_only_the_new_day_is_read(toy: Context) -> None:
    materialize(toy, LAST - 1)
    state = OnlineState.parse(open_rows(toy.feast).read_note("pump_heat"))
    assert state and state.upto == at(LAST - 1)
    for day in range(LAST - 3):  # the files keep their times, so nothing shows that they are broken
        place = Path(partition(toy, day))
        times = place.stat()
        place.write_bytes(b"x" * times.st_size)
        import os

        os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert materialize(toy, LAST)["written"]["pump_heat"] == 60


def test_a_restated_day_reaches_the_online_store(toy: Context) -> None:
    materialize(toy, LAST)
    before = online(toy, at(LAST))
    restate(toy, LAST - 1, lambda rows: rows.assign(heat_3d=rows.heat_3d + 1))
    assert materialize(toy, LAST - 1) == {
        "as_of": at(LAST).isoformat().replace("+00:00", "Z"),
        "moved": False,
        "written": {"pump_heat": 60},
    }
    after = online(toy, at(LAST))
    assert [a["heat_3d"] - b["heat_3d"] for (a, _), (b, _) in zip(after, before, strict=True)] == pytest.approx(
        [1] * 60
    )
    assert execute("check_parity", {"as_of": at(LAST).isoformat()}, toy)["verdict"] == "PASS"


def test_an_entity_that_a_restated_day_no_longer_has_falls_back(toy: Context) -> None:
    materialize(toy, LAST)
    restate(toy, LAST - 1, lambda rows: rows[rows.pump != "7"])
    materialize(toy, LAST)
    (row,) = read_online(toy.feast, REFS, [{"pump": "7"}], at(LAST))
    age = row.ages["heat_3d"]
    assert age is not None and timedelta(days=1) < age < timedelta(days=2) and row.values["heat_3d"] is not None
    restate(toy, LAST - 2, lambda rows: rows[rows.pump != "7"])
    materialize(toy, LAST)
    (row,) = read_online(toy.feast, REFS, [{"pump": "7"}], at(LAST))
    assert row.values["heat_3d"] is None and row.values["age"] is not None
    assert execute("check_parity", {"as_of": at(LAST).isoformat()}, toy)["verdict"] == "PASS"


def test_a_restated_reference_table_is_replaced(toy: Context) -> None:
    materialize(toy, LAST)
    place = toy.data.partition("features", "pump_maker", None)
    table = toy.data.store.read_table(place)
    toy.data.store.write_table(place, table.slice(0, 10))
    assert materialize(toy, LAST)["written"] == {"pump_maker": 10}
    ages = [row.values["age"] for row in read_online(toy.feast, REFS, PUMPS, at(LAST))]
    assert len([age for age in ages if age is not None]) == 10


@pytest.mark.parametrize("calls", [1, 2])
def test_a_later_run_completes_one_killed_between_or_within_views(
    toy: Context, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    materialize(toy, LAST - 2)
    kind = type(open_rows(toy.feast))
    name, left = ("_each", calls * 4) if hasattr(kind, "_each") else ("put", calls)
    monkeypatch.setattr("pipelines.online.redis.MOST", 10)  # several round trips for each view
    whole = getattr(kind, name)

    def killed(self: Any, *arguments: Any) -> Any:
        nonlocal left
        left -= 1
        if left <= 0:
            raise KeyboardInterrupt
        return whole(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(kind, name, killed)
        with pytest.raises(KeyboardInterrupt):
            materialize(toy, LAST)
    assert online_stands_at(toy.feast) == at(LAST - 2)
    outputs = materialize(toy, LAST - 1)  # an earlier day: it completes the killed run
    reached = OnlineState.parse(open_rows(toy.feast).read_note("pump_heat"))
    assert reached and online_stands_at(toy.feast) == reached.upto
    assert outputs["as_of"] == reached.upto.isoformat().replace("+00:00", "Z")
    assert execute("check_parity", {"as_of": outputs["as_of"]}, toy)["verdict"] == "PASS"


def test_a_run_killed_before_it_is_recorded_is_repeated(toy: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.online import standing

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(standing, "note_online_stands_at", killed)
        with pytest.raises(KeyboardInterrupt):
            materialize(toy, LAST)
    assert online_stands_at(toy.feast) is None
    assert materialize(toy, LAST - 5)["as_of"] == at(LAST).isoformat().replace("+00:00", "Z")
    assert execute("check_parity", {"as_of": at(LAST).isoformat()}, toy)["verdict"] == "PASS"


def test_pushes_after_the_instant_stay_and_earlier_ones_are_replaced(toy: Context) -> None:
    materialize(toy, LAST - 2)
    row = {"pump": "3", "heat_1d": 99.0, "heat_3d": 99.0}
    ahead, wrong = at(LAST) + timedelta(hours=1), at(LAST) - timedelta(minutes=1)
    toy.feast.write_to_online_store("pump_heat", df=pd.DataFrame([{**row, "known_at": pd.Timestamp(ahead)}]))
    other = {
        "pump": "4",
        "heat_1d": 7.0,
        "heat_3d": 77.0,
        "known_at": pd.Timestamp(wrong),
    }  # an entity without features
    toy.feast.write_to_online_store("pump_heat", df=pd.DataFrame([other]))
    note_online_stands_at(toy.feast, at(LAST) - timedelta(minutes=1))
    materialize(toy, LAST)
    pushed, replaced = read_online(toy.feast, REFS, [{"pump": "3"}, {"pump": "4"}], ahead)
    assert pushed.values["heat_3d"] == 99.0 and pushed.ages["heat_3d"] == timedelta(0)
    assert replaced.values["heat_3d"] not in (77.0, None)


def test_days_built_behind_pushes_are_materialized_once_no_gap_is_left(toys: Callable[[], Context]) -> None:
    toy = toys()
    kept = {day: toy.data.store.read_bytes(partition(toy, day)) for day in (LAST - 2, LAST - 1)}
    for day in kept:
        toy.data.store.delete(partition(toy, day))
    materialize(toy, LAST - 2)
    note_online_stands_at(toy.feast, at(LAST + 3))
    toy.data.store.write_bytes(partition(toy, LAST - 1), kept[LAST - 1])
    assert "pump_heat" not in materialize(toy, LAST)["written"]
    toy.data.store.write_bytes(partition(toy, LAST - 2), kept[LAST - 2])
    outputs = materialize(toy, LAST - 1)
    assert (outputs["moved"], outputs["written"]["pump_heat"]) == (False, 60)
    assert online_stands_at(toy.feast) == at(LAST + 3)
    once = toys()
    materialize(once, LAST)
    assert online(toy, at(LAST)) == online(once, at(LAST))


def test_a_lost_online_store_is_filled_again(toy: Context) -> None:
    materialize(toy, LAST)
    before = online(toy, at(LAST))
    held: Any = open_rows(toy.feast)
    if hasattr(held, "_redis"):
        held._redis.flushdb()
    else:
        with held._connection as connection:
            for table in ("pumps_pump_heat", "pumps_pump_maker", "flightdeck_given"):
                connection.execute(f"delete from {table}")
    assert materialize(toy, LAST - 3)["written"] == {"pump_heat": 60, "pump_maker": 60}
    assert online(toy, at(LAST)) == before


def in_zone(context: Context, zone: str, *words: str) -> int:
    """The exit code of a command in a process of its own, in another time zone."""
    own = {"TZ": zone, "FLIGHTDECK_HOME": str(context.settings.home)}
    if context.settings.feast_online:
        own["FLIGHTDECK_FEAST_ONLINE"] = str(context.settings.feast_online)
    return flightdeck([*words, "--params", TOY], own).returncode


def test_processes_in_several_time_zones_share_an_online_store(toys: Callable[[], Context]) -> None:
    toy, here = toys(), toys()
    materialize(here, LAST)
    expected = online(here, at(LAST))
    assert in_zone(toy, "Asia/Kolkata", "materialize", "--as-of", str(START + timedelta(LAST))) == 0
    assert online(toy, at(LAST)) == expected
    assert in_zone(toy, "America/New_York", "check_parity", "--as-of", str(START + timedelta(LAST))) == 0


@pytest.mark.parametrize("toys", ["sqlite"], indirect=True)
def test_an_online_store_of_the_old_convention_is_refused_until_the_next_run_rewrites_it(toy: Context) -> None:
    materialize(toy, LAST)
    expected, held = online(toy, at(LAST)), open_rows(toy.feast)
    tables = ("pumps_pump_heat", "pumps_pump_maker")
    with held._connection as connection:  # type: ignore[attr-defined]
        for table in tables:
            connection.execute(f"alter table {table} rename to kept")
            connection.execute(
                f"create table {table} (entity_key blob, feature_name text, value blob, value_text text,"
                "event_ts timestamp, created_ts timestamp, primary key (entity_key, feature_name))"
            )
            connection.execute(
                f"insert into {table} select entity_key, feature_name, value, value_text, (event_ts + 0) / 1000000,"
                "null from kept"
            )
            connection.execute("drop table kept")
    again = Context(toy.settings, toy.params, toy.usecase)
    execute("apply_features", {}, again)
    day = toy.data.store.read_table(partition(toy, LAST - 1))
    attempts: list[Callable[[], Any]] = [
        lambda: execute("check_parity", {"as_of": at(LAST).isoformat()}, again),
        lambda: OnlineStore(again.feast).push("pump_heat", ("pump",), day),
    ]
    for attempt in attempts:
        with pytest.raises(InvalidInput, match=r"online\.db: pumps_pump_\w+ was written by an earlier version"):
            attempt()
    assert materialize(again, LAST)["written"] == {"pump_heat": 60, "pump_maker": 60}
    assert online(again, at(LAST)) == expected
    assert execute("check_parity", {"as_of": at(LAST).isoformat()}, again)["verdict"] == "PASS"


def test_a_gap_stops_the_run_and_nothing_is_written(toy: Context) -> None:
    materialize(toy, LAST - 4)
    before = online(toy, at(LAST - 4))
    toy.data.store.delete(partition(toy, LAST - 2))
    with pytest.raises(MissingData, match="features/pump_heat lacks 2024-03-13"):
        materialize(toy, LAST)
    assert online(toy, at(LAST - 4)) == before and online_stands_at(toy.feast) == at(LAST - 4)


def test_parity_sees_an_entity_that_was_known_long_ago(toy: Context) -> None:
    for day in range(3, LAST):
        restate(toy, day, lambda rows: rows[rows.pump != "9"])
    materialize(toy, LAST)
    outputs = execute("check_parity", {"as_of": at(LAST).isoformat()}, toy)
    assert outputs["verdict"] == "PASS"
    values = {"heat_1d": None, "heat_3d": 5.0, "known_at": pd.Timestamp(at(LAST) - timedelta(hours=1))}
    stale = pd.DataFrame([{"pump": "9", **values}]).astype({"heat_1d": "float32"})
    toy.feast.write_to_online_store("pump_heat", df=stale)
    with pytest.raises(CheckFailed, match=r"pump_heat of \{'pump': '9'\}: heat_3d is 5.0 online, None offline; 1 of"):
        execute("check_parity", {"as_of": at(LAST).isoformat()}, toy)


FILES = {f"2024-03-{day:02}": "1" for day in range(1, 15)}
GIVEN = OnlineState(at(14), FILES)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("state", "files", "ttl", "upto", "pushed", "expected"),
    [
        (None, FILES, 2 * HOUR, 14, False, (None, True)),
        (GIVEN, FILES, 2 * HOUR, 14, False, None),
        (GIVEN, {**FILES, "2024-03-15": "1"}, 2 * HOUR, 15, False, (at(14), False)),
        (GIVEN, {**FILES, "2024-03-15": "1"}, 2 * HOUR, 15, True, (at(15) - 2 * HOUR, True)),
        (GIVEN, {**FILES, "2024-03-15": "1"}, None, 15, True, (None, True)),
        (GIVEN, {**FILES, "2024-03-14": "2"}, 2 * HOUR, 14, False, (at(14) - 2 * HOUR, True)),
        (GIVEN, {**FILES, "2024-03-13": "2"}, 24 * HOUR, 14, False, None),  # the entity's row had already expired
        (GIVEN, {**FILES, "2024-03-13": "2"}, 25 * HOUR, 14, False, (at(14) - 25 * HOUR, True)),
        (GIVEN, {**FILES, "2024-03-02": "2"}, None, 14, False, (None, True)),
        (GIVEN, {name: one for name, one in FILES.items() if name != "2024-03-14"}, None, 14, False, (None, True)),
        (GIVEN, {**FILES, "2024-02-29": "1"}, None, 14, False, (None, True)),
        (OnlineState(at(14), {"all": "1"}), {"all": "1"}, None, 14, False, None),
        (OnlineState(at(14), {"all": "1"}), {"all": "2"}, None, 14, False, (None, True)),
    ],
)
def test_the_span_to_materialize_follows_from_the_state_of_store_and_files(
    state: Any, files: Any, ttl: Any, upto: int, pushed: bool, expected: Any
) -> None:
    span = delta(state, files, ttl, at(upto), Calendar(BERLIN), pushed)
    last = at(upto) - timedelta(microseconds=1)
    assert span == (None if expected is None else Span(expected[0], last, expected[1]))
    assert OnlineState.parse(str(GIVEN)) == GIVEN and GIVEN.upto.tzinfo == UTC
