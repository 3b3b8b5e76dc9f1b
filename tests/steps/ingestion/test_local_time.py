"""Local times and days across changes of the clock."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from pipelines.context import Context
from pipelines.errors import CorruptData
from pipelines.steps import execute
from tests.sources import context_over, rows, write_csv
from tests.steps.ingestion.visits import WINDOW


@pytest.mark.parametrize(
    ("local", "message"),
    [
        ("2024-03-31T02:30:00", "Timestamp doesn't exist in timezone"),
        ("2024-10-27T02:30:00", "is ambiguous in timezone"),
    ],
)
def test_a_local_time_that_is_no_instant_or_two_is_refused(tmp_path: Path, local: str, message: str) -> None:
    records = [{**one, "at": local, "changed_at": "2024-03-29T12:00:00"} for one in rows(1)]
    write_csv(tmp_path / "visits.csv", records)
    source = {"kind": "files", "uri": f"{tmp_path}/{{table}}.csv", "timezone": "Europe/Berlin"}
    with pytest.raises(CorruptData, match=f"column at: .*{message}"):
        execute("ingest", WINDOW, context_over(tmp_path / "home", source))


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
