"""Values and names from a source that the chain cannot accept unchanged."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipelines.errors import CorruptData
from pipelines.steps import execute
from tests.sources import FIRST, TABLE, Api, as_json, context_over, rows, write_csv

WINDOW = {"start": str(FIRST), "end": str(FIRST + timedelta(4))}


def ingested(home: Path, source: dict[str, Any], table: Any = TABLE) -> pd.DataFrame:
    context = context_over(home, source, table)
    execute("ingest", WINDOW, context)
    frame: pd.DataFrame = context.data.read("raw", "visits", context.window(FIRST, FIRST + timedelta(4))).to_pandas()
    return frame.sort_values("id")


def http(api: Api) -> dict[str, Any]:
    return {"kind": "http", "url": api.url, "per_second": 1000}


def into_sqlite(file: Path, records: list[dict[str, Any]]) -> str:
    """A table without types, as SQLite allows."""
    names = list(records[0])
    with sqlite3.connect(file) as connection:
        connection.execute(f"create table visits ({', '.join(names)})")
        marks = ", ".join("?" * len(names))
        connection.executemany(f"insert into visits values ({marks})", [tuple(one.values()) for one in records])
    return f"sqlite:///{file}"


MIXED: list[tuple[str, list[Any]]] = [
    ("site", ["x", 5]),
    ("site", [5, "x"]),
    ("value", [1.5, "high"]),
    ("at", [3, "2024-03-29T10:00:00Z"]),
]


@pytest.mark.parametrize(("column", "values"), MIXED)
def test_values_without_a_type_in_common_are_named(tmp_path: Path, column: str, values: list[Any]) -> None:
    records = [{**one, column: values[n % len(values)]} for n, one in enumerate(as_json(rows(14)))]
    with (
        Api(records).serving() as api,
        pytest.raises(CorruptData, match=f"column {column} holds values of several types, or one that no type holds"),
    ):
        ingested(tmp_path / "home", http(api))


@pytest.mark.parametrize(("column", "values"), [("site", ["x", 5]), ("value", [1.5, "high"])])
def test_values_of_a_database_without_types_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str, values: list[Any]
) -> None:
    records = [{**one, column: values[n % 2]} for n, one in enumerate(as_json(rows(14)))]
    monkeypatch.setenv("VISITS_URL", into_sqlite(tmp_path / "visits.db", records))
    with pytest.raises(CorruptData, match=f"visits: column {column} holds values of several types"):
        ingested(tmp_path / "home", {"kind": "sql", "url_env": "VISITS_URL"})


def test_a_text_in_an_instant_of_a_database_is_corrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sqlite3.connect(tmp_path / "visits.db") as connection:
        connection.execute("create table visits (id integer, site text, value real, at datetime, changed_at datetime)")
        connection.execute("insert into visits values (1, 'a', 1.5, null, 'yesterday')")
    monkeypatch.setenv("VISITS_URL", f"sqlite:///{tmp_path / 'visits.db'}")
    with pytest.raises(CorruptData, match=r"not of its column's type .*yesterday"):
        ingested(tmp_path / "home", {"kind": "sql", "url_env": "VISITS_URL"})


MANY: list[Any] = [1, "x", None, 2.5, True, {"b": 1, "a": None}, [1, "y"], 2**70, 7, 8]
TOLD = ["1", "x", None, "2.5", "true", '{"b": 1, "a": null}', '[1, "y"]', str(2**70), "7", "8"]


@pytest.mark.parametrize("size", [1, 3, 10])
def test_a_column_that_is_not_declared_may_hold_anything(tmp_path: Path, size: int) -> None:
    """Its text does not depend on the rest of the page."""
    records = [{**one, "extra": value} for one, value in zip(as_json(rows(10)), MANY, strict=True)]
    with Api(records, size=size).serving() as api:
        assert ingested(tmp_path / "home", http(api)).extra.tolist() == TOLD


def test_a_database_column_that_is_not_declared_may_hold_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = [1, "x", None, 2.5]
    records = [{**one, "extra": value} for one, value in zip(as_json(rows(4)), values, strict=True)]
    monkeypatch.setenv("VISITS_URL", into_sqlite(tmp_path / "visits.db", records))
    frame = ingested(tmp_path / "home", {"kind": "sql", "url_env": "VISITS_URL"})
    assert frame.extra.tolist() == ["1", "x", None, "2.5"]


# --- names of the chain's own columns


@pytest.mark.parametrize("name", ["local_day", "reason", "Reason", "_file", "_partition", "_position", "_instant"])
def test_a_column_with_a_reserved_name_is_refused(tmp_path: Path, name: str) -> None:
    write_csv(tmp_path / "visits.csv", [one | {name: "x"} for one in rows(10)])
    source = {"kind": "files", "uri": f"{tmp_path}/{{table}}.csv"}
    with pytest.raises(
        CorruptData, match=f"the name {name} is reserved for the chain; rename the column at the source, or in a vi"
    ):
        ingested(tmp_path / "home", source)
    with pytest.raises(CorruptData, match=f"the name {name} is reserved for the chain"):
        ingested(tmp_path / "home", source, replace(TABLE, columns={**TABLE.columns, name: "string"}))


def test_partitions_read_as_a_source_keep_their_day(tmp_path: Path) -> None:
    write_csv(tmp_path / "visits.csv", rows())
    first = context_over(tmp_path / "first", {"kind": "files", "uri": f"{tmp_path}/{{table}}.csv"})
    execute("ingest", WINDOW, first)
    folder = Path(first.data.uri("raw", "visits"))
    again = ingested(tmp_path / "again", {"kind": "files", "uri": f"{folder}/{{day}}.parquet"})
    assert len(again) == 60
    for file in folder.glob("*.parquet"):
        part = pd.read_parquet(file)
        part.assign(local_day=part.local_day + timedelta(1)).to_parquet(file)
    with pytest.raises(CorruptData, match="the name local_day is reserved for the chain"):
        ingested(tmp_path / "other", {"kind": "files", "uri": f"{folder}/{{day}}.parquet"})
