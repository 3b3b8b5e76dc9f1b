"""Incremental sources: changed records are merged into the partitions of their days."""

from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from pipelines.context import Context
from pipelines.errors import InvalidInput
from pipelines.steps import execute
from pipelines.store import Store
from tests.examples import seeds
from tests.services import thorough
from tests.sources import FIRST, context_over, rows, versions
from tests.steps.ingestion.visits import PLAIN, WINDOW, Record, into_sqlite, raw


def incremental(tmp_path: Path, records: list[Record], home: str) -> Context:
    into_sqlite(tmp_path / "visits.db", records, "Asia/Tokyo")
    source = {"kind": "sql", "url_env": "VISITS_URL", "incremental": True, "timezone": "Asia/Tokyo"}
    return context_over(tmp_path / home, source)


def day(number: int) -> dict[str, str]:
    return {"start": str(FIRST + timedelta(number)), "end": str(FIRST + timedelta(number + 1))}


def day_end(number: int) -> datetime:
    return datetime.combine(FIRST + timedelta(number + 1), time.min, ZoneInfo("Europe/Berlin"))


@pytest.mark.parametrize("seed", seeds(2, 50))
def test_incremental_reads_end_with_the_same_data_as_one_full_read(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records are corrected, arrive late, or move to another day; days run once, twice, or out of order."""
    monkeypatch.setenv("VISITS_URL", f"sqlite:///{tmp_path / 'visits.db'}")
    draw = random.Random(seed)
    records = versions(draw, 40, lambda first, last: last + timedelta(hours=draw.choice([0, 0, 26])))
    whole = incremental(tmp_path, records, "whole")
    execute("ingest", {"start": str(FIRST), "end": str(FIRST + timedelta(6))}, whole)
    step_by_step = incremental(tmp_path, records, "steps")
    order = [0, 1, 2, 3, 4, 5]
    order += draw.sample(order, 2)
    for number in order:
        execute("ingest", day(number), step_by_step)
    frames = [
        context.data.read("raw", "visits", context.window(FIRST, FIRST + timedelta(6)))
        for context in (whole, step_by_step)
    ]
    assert frames[0].equals(frames[1]) and len(set(frames[0]["id"].to_pylist())) == frames[0].num_rows
    assert raw(whole) == raw(step_by_step)


def test_a_gap_between_runs_is_read_from_the_watermark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISITS_URL", f"sqlite:///{tmp_path / 'visits.db'}")
    context = incremental(tmp_path, rows(), "home")
    execute("ingest", day(0), context)
    newest = [max(one["changed_at"] for one in rows() if one["changed_at"] < day_end(number)) for number in (0, 3)]
    assert context.partitions.watermark("visits") == newest[0]
    outputs = execute("ingest", day(3), context)
    assert {str(day) for day in context.data.periods("raw", "visits")} == {
        str(FIRST + timedelta(n)) for n in range(4)
    }, "the days between were never requested, and lost nothing"
    assert outputs["tables"]["visits"]["delivered"] > 16
    assert outputs["validate_since"] == outputs["build_since"] == "2024-03-30", "no other run validates them"
    execute("ingest", day(1), context)
    assert context.partitions.watermark("visits") == newest[1]


@pytest.mark.parametrize("hour", [0, 12, 23])
def test_a_day_read_before_its_end_is_completed_by_the_next_run(
    tmp_path: Path, hour: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watermark is the newest change read, not the end of the window; the day's own run is missing."""
    monkeypatch.setenv("VISITS_URL", f"sqlite:///{tmp_path / 'visits.db'}")
    now = datetime(2024, 3, 29, hour, tzinfo=UTC)
    context = incremental(tmp_path, [one for one in rows() if one["changed_at"] < now], "home")
    execute("ingest", day(0), context)
    incremental(tmp_path, rows(), "unused")
    execute("ingest", day(1), context)
    assert context.data.read("raw", "visits", context.window(FIRST, FIRST + timedelta(2))).num_rows == 32


def test_a_quiet_source_is_read_from_its_last_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISITS_URL", f"sqlite:///{tmp_path / 'visits.db'}")
    context = incremental(tmp_path, rows(3), "home")
    seen = [execute("ingest", day(number), context)["tables"]["visits"]["delivered"] for number in range(4)]
    assert seen == [3, 1, 1, 1]
    assert context.partitions.watermark("visits") == rows(3)[-1]["changed_at"]
    empty = incremental(tmp_path, [], "empty")
    execute("ingest", day(0), empty)
    assert empty.partitions.watermark("visits") is None


def test_a_late_change_of_an_old_day_marks_it_for_validation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISITS_URL", f"sqlite:///{tmp_path / 'visits.db'}")
    context = incremental(tmp_path, rows(), "home")
    for number in range(3):
        execute("ingest", day(number), context)
    corrected = rows()[5] | {"value": 7.5, "changed_at": datetime(2024, 4, 1, 12, tzinfo=UTC)}
    incremental(tmp_path, [*rows(), corrected], "unused")
    outputs = execute("ingest", day(3), context)
    assert outputs["tables"]["visits"]["restated"] == ["2024-03-29"]
    assert outputs["validate_since"] == "2024-03-29"


class Killed(BaseException):
    """An error that no handler catches."""


@thorough
@pytest.mark.parametrize("write", range(4))
def test_a_run_killed_at_any_write_is_completed_by_the_next(
    tmp_path: Path, write: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The partitions, their history and the watermark are as if it had run once."""
    monkeypatch.setenv("VISITS_URL", f"sqlite:///{tmp_path / 'visits.db'}")
    corrected = [rows()[n] | {"value": -1.0, "changed_at": datetime(2024, 4, 1, 12, tzinfo=UTC)} for n in (5, 20, 40)]
    homes = []
    for home in ("clean", "killed"):
        context = incremental(tmp_path, [*rows(), *corrected], home)
        for number in range(3):
            execute("ingest", day(number), context)
        homes.append(context)
    clean, killed = homes
    outputs = execute("ingest", day(3), clean)
    put, count = Store.write_bytes, itertools.count()

    def dies(self: Store, uri: str, content: bytes) -> str:
        if next(count) == write:
            raise Killed
        return put(self, uri, content)

    monkeypatch.setattr(Store, "write_bytes", dies)
    with pytest.raises(Killed):
        execute("ingest", day(3), killed)
    monkeypatch.setattr(Store, "write_bytes", put)
    before = killed.partitions.watermark("visits")
    again = execute("ingest", day(3), killed)
    assert raw(killed) == raw(clean)
    overdue = ("validate_since", "build_since", "build_until")
    assert outputs["validate_since"] == "2024-03-29" and [again[name] for name in overdue] == [
        outputs[name] for name in overdue
    ]
    histories = [context.partitions for context in homes]
    assert histories[0].lines() == histories[1].lines()
    newest = max(one["changed_at"] for one in rows() if one["changed_at"] < day_end(3))
    assert before is not None and before < newest
    assert histories[0].watermark("visits") == histories[1].watermark("visits") == newest


def test_an_incremental_source_needs_a_column_that_orders_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISITS_URL", into_sqlite(tmp_path / "visits.db", rows()))
    source = {"kind": "sql", "url_env": "VISITS_URL", "incremental": True}
    with pytest.raises(InvalidInput, match="names no column `known`"):
        execute("ingest", WINDOW, context_over(tmp_path / "home", source, PLAIN))
