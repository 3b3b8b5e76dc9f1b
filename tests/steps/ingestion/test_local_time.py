"""Local times and days across changes of the clock."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipelines.context import Context
from pipelines.errors import CorruptData
from pipelines.steps import execute
from tests.sources import TABLE, context_over, rows, write_csv
from tests.steps.ingestion.visits import PLAIN, WINDOW


@pytest.mark.parametrize(
    ("local", "message"),
    [
        ("2024-03-31T02:30:00", "Timestamp doesn't exist in timezone"),
        ("2024-10-27T02:30:00", "is ambiguous in timezone"),
    ],
)
def test_an_ambiguous_or_nonexistent_local_time_is_refused(tmp_path: Path, local: str, message: str) -> None:
    records = [{**one, "at": local, "changed_at": "2024-03-29T12:00:00"} for one in rows(1)]
    write_csv(tmp_path / "visits.csv", records)
    source = {"kind": "files", "uri": f"{tmp_path}/{{table}}.csv", "timezone": "Europe/Berlin"}
    with pytest.raises(CorruptData, match=f"column at: .*{message}"):
        execute("ingest", WINDOW, context_over(tmp_path / "home", source))


AUTUMN = {"start": "2024-10-26", "end": "2024-10-29"}
LOCAL = [f"2024-10-27T0{hour}" for hour in ("1:30:00", "2:00:00", "2:59:59", "3:00:00")]  # the second and third twice
IN_UTC = {
    "first": ["23:30:00", "00:00:00", "00:59:59", "02:00:00"],
    "second": ["23:30:00", "01:00:00", "01:59:59", "02:00:00"],
}


def _visits(source: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch, hours: int = 24) -> Context:
    """Visits at the LOCAL times, in a source of the kind that `source` names."""
    at = [datetime.fromisoformat(one) for one in LOCAL]
    frame = pd.DataFrame({"id": range(4), "site": "a", "value": 1.0, "at": at, "changed_at": at})
    if source["kind"] == "sql":
        with closing(sqlite3.connect(folder / "visits.db")) as connection:
            connection.execute(
                "create table visits (id integer, site text, value float, at timestamp, changed_at timestamp)"
            )
            words = [[one.isoformat(" ", "microseconds")] * 2 for one in at]
            connection.executemany(
                "insert into visits values (?, 'a', 1.0, ?, ?)", [(i, *two) for i, two in enumerate(words)]
            )
            connection.commit()
        monkeypatch.setenv("VISITS_URL", f"sqlite:///{folder / 'visits.db'}")
        source = {"url_env": "VISITS_URL", **source}
    else:
        frame.to_parquet(folder / "visits.parquet")
        form = source.get("timestamp_format", "%Y-%m-%dT%H:%M:%S")
        frame.to_csv(folder / "visits.csv", index=False, date_format=form)
    table = TABLE if source.get("incremental") else PLAIN
    pumps = context_over(folder / "home", {"timezone": "Europe/Berlin", **source}, table)
    usecase: Any = replace(pumps.usecase, end=date(2025, 1, 1))  # type: ignore[type-var]
    if hours < 24:
        object.__setattr__(usecase, "period", timedelta(hours=hours))
    return Context(pumps.settings, pumps.params, usecase)


@pytest.mark.parametrize("ambiguous", ["first", "second", "refuse"])
@pytest.mark.parametrize(
    "source",
    [
        {"kind": "files", "uri": "visits.csv"},
        {"kind": "files", "uri": "visits.csv", "timestamp_format": "%d.%m.%Y %H:%M:%S"},
        {"kind": "files", "uri": "visits.parquet"},
        {"kind": "sql"},
        {"kind": "sql", "incremental": True},
    ],
    ids=["csv", "format", "parquet", "database", "incremental"],
)
def test_a_source_says_which_of_two_instants_a_local_time_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: dict[str, Any], ambiguous: str
) -> None:
    monkeypatch.chdir(tmp_path)
    context = _visits({**source, "ambiguous": ambiguous}, tmp_path, monkeypatch)
    if ambiguous == "refuse":
        line = {"visits.csv": r", in line 3", "visits.parquet": ", in row 2"}.get(source.get("uri", ""), "")
        message = (
            rf"column at: .*27.*is ambiguous in timezone 'Europe/Berlin': .*{line}; .*set `ambiguous` of the source"
        )
        with pytest.raises(CorruptData, match=message):
            execute("ingest", AUTUMN, context)
        return
    execute("ingest", AUTUMN, context)
    visits = context.data.read("raw", "visits", context.window(date(2024, 10, 26), date(2024, 10, 29)))
    assert [f"{at:%H:%M:%S}" for at in sorted(visits["at"].to_pylist())] == IN_UTC[ambiguous]


@pytest.mark.parametrize("ambiguous", ["first", "second"])
def test_a_database_read_by_hour_gives_both_occurrences_of_a_repeated_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ambiguous: str
) -> None:
    context = _visits({"kind": "sql", "ambiguous": ambiguous}, tmp_path, monkeypatch, hours=1)
    start = datetime(2024, 10, 26, 22, tzinfo=UTC)
    hours = [start + timedelta(hours=number) for number in range(6)]
    for hour in hours:
        execute("ingest", {"start": hour.isoformat(), "end": (hour + timedelta(hours=1)).isoformat()}, context)
    visits = context.data.read("raw", "visits", context.window(hours[0], hours[-1]))
    assert [f"{at:%H:%M:%S}" for at in sorted(visits["at"].to_pylist())] == IN_UTC[ambiguous]


def test_days_are_local_across_both_changes_of_the_clock(tmp_path: Path) -> None:
    for start in (datetime(2024, 3, 29, tzinfo=UTC), datetime(2024, 10, 25, tzinfo=UTC)):
        records = rows(72, start)
        for number, record in enumerate(records):
            record["at"] = start + timedelta(hours=number)
        folder = tmp_path / f"{start:%m}"
        write_csv(folder / "visits.csv", records)
        pumps = context_over(folder / "home", {"kind": "files", "uri": f"{folder}/{{table}}.csv"})
        context = Context(pumps.settings, pumps.params, replace(pumps.usecase, end=date(2025, 1, 1)))  # type: ignore[type-var]
        first = start.date()
        execute("ingest", {"start": str(first), "end": str(first + timedelta(4))}, context)
        local = pd.Series([one["at"] for one in records]).dt.tz_convert("Europe/Berlin").dt.date
        for day, count in local.value_counts().items():
            part = context.data.store.read_table(context.data.partition("raw", "visits", day))  # type: ignore[arg-type]
            assert part.num_rows == count
    assert sorted(local.value_counts()) == [1, 22, 24, 25]
