"""Databases as sources, and days that arrive in many batches."""

from __future__ import annotations

import random
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.errors import CorruptData, FlightdeckError
from pipelines.steps import execute
from tests.sources import context_over, rows
from tests.steps.ingestion.test_incremental import day
from tests.steps.ingestion.visits import PLAIN, WINDOW, into_sqlite, read


def test_a_missing_database_is_named_without_its_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = context_over(tmp_path / "home", {"kind": "sql", "url_env": "VISITS_URL"})
    for url, message in (
        (None, "VISITS_URL is not set"),
        ("postgres", "VISITS_URL is not a database URL"),
        ("nosuch://ada:sesame@db/x", "is not a database URL, or its driver is not installed"),
        (f"sqlite:///{tmp_path}/nowhere/sesame/x.db", "cannot be read for visits"),
        (f"sqlite:///{tmp_path}/empty.db", "has no table visits"),
    ):
        monkeypatch.delenv("VISITS_URL", raising=False)
        if url:
            monkeypatch.setenv("VISITS_URL", url)
        with pytest.raises(FlightdeckError, match=message) as raised:
            execute("ingest", WINDOW, context)
        assert "sesame" not in str(raised.value)


def test_only_the_window_is_read_from_a_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISITS_URL", into_sqlite(tmp_path / "visits.db", rows()))
    context = context_over(tmp_path / "home", {"kind": "sql", "url_env": "VISITS_URL"}, PLAIN)
    assert execute("ingest", day(1), context)["tables"]["visits"]["delivered"] == 16
    with sqlite3.connect(tmp_path / "visits.db") as connection:
        connection.execute("alter table visits drop column value")
    with pytest.raises(CorruptData, match="column value is missing; expected float64"):
        execute("ingest", day(1), context)


def test_a_day_in_many_batches_is_one_partition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.ingestion.staging.BATCH", 2048)
    draw = random.Random(1)
    start = datetime(2024, 3, 28, 23, tzinfo=UTC)
    at = [start + timedelta(seconds=draw.randint(0, 3 * 86400)) for _ in range(20_000)]
    frame = pd.DataFrame({"id": range(20_000), "site": "a", "value": 1.0, "at": at, "changed_at": at})
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), tmp_path / "visits.parquet")
    context = context_over(tmp_path / "home", {"kind": "files", "uri": f"{tmp_path}/{{table}}.parquet"})
    execute("ingest", WINDOW, context)
    assert read(context, "id").id.tolist() == list(range(20_000))
