"""Expectations in SQL: DuckDB runs them over all partitions, out of core, and Great Expectations judges the results."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import numpy.typing as npt

from pipelines.errors import InvalidInput
from pipelines.quoting import literal, parquet, pattern, quoted, twins
from pipelines.usecase import RawTable, UseCase
from pipelines.validation.queries import BAD, REFERENCE_SCHEMA, Query, RowQuery, reference_table
from pipelines.validation.suite import Check, Result, Severity, evaluate

if TYPE_CHECKING:
    from pipelines.store import Layout

MEMORY = "512MB"  # DuckDB's limit; what exceeds it is spilled to the system's temporary folder
SAMPLE = 20

OURS = ("rows", "types", "earlier", "reference", BAD)  # views that every query may read
Positions = Mapping[date | None, npt.NDArray[np.int64]]  # rows by partition


@dataclass(frozen=True)
class QueryOutcome:
    """The outcome of a query: its result and, of a failed one that quarantines rows, the bad rows."""

    result: Result
    bad: Positions = field(default_factory=dict)


def ask(
    table: RawTable,
    days: Sequence[date | None],
    checks: Sequence[Check],
    usecase: UseCase,
    data: Layout,
    apart: Mapping[str, npt.NDArray[np.int64]],
) -> list[QueryOutcome]:
    """Evaluate the checks in SQL, in their order. The outcome of one that fails to run holds its error.

    Args:
        apart: numbers of bad rows by reference table; queries do not see these rows.
    """
    if not checks:
        return []
    with _database(data) as database:
        _create_views(table, days, database, usecase, data, apart)
        return [_answer(check, table, days, database, data) for check in checks]


def _answer(
    check: Check, table: RawTable, days: Sequence[date | None], database: duckdb.DuckDBPyConnection, data: Layout
) -> QueryOutcome:
    query = check.expectation
    assert isinstance(query, Query)
    try:
        _create_past_views(query, table, days, database, data)
        if isinstance(query, RowQuery):
            database.execute(f"create or replace table {BAD} as {query.bad()}")
        answer = database.execute(query.sql()).df()
        sample = _sample(database) if isinstance(query, RowQuery) else ()
    except duckdb.Error as error:
        return QueryOutcome(Result(check, False, str(error), {}))
    (result,) = evaluate(answer, [check])
    result = replace(result, sample=sample)
    if result.success or result.error is not None or check.severity is not Severity.QUARANTINE:
        return QueryOutcome(result)
    return QueryOutcome(result, _positions(database))


def _create_views(
    table: RawTable,
    days: Sequence[date | None],
    database: duckdb.DuckDBPyConnection,
    usecase: UseCase,
    data: Layout,
    apart: Mapping[str, npt.NDArray[np.int64]],
) -> None:
    """Create the views that every query may read."""
    ours = [data.partition("raw", table.name, day) for day in days]
    _view("rows", ours, database)
    database.execute(
        f"create view types as select {_day('file_name')} as _partition, name, duckdb_type as type "
        f"from parquet_schema({_sql_list(ours)}) where column_id > 0"
    )
    database.execute(f"create schema {REFERENCE_SCHEMA}")
    if alike := twins(other.name for other in usecase.tables):
        raise InvalidInput(f"tables {alike[0]} and {alike[1]} differ in the case of letters only; rename one")
    for other in usecase.tables:
        uri = data.partition("raw", other.name, None)
        if not other.daily and data.store.exists(uri):
            _view(reference_table(other.name), [uri], database, apart.get(other.name, ()))
            if other.name.lower() not in OURS:
                database.execute(f"create view {quoted(other.name)} as from {reference_table(other.name)}")


def _create_past_views(
    query: Query, table: RawTable, days: Sequence[date | None], database: duckdb.DuckDBPyConnection, data: Layout
) -> None:
    """Create the views `earlier` and `reference`, of as many days as a query needs."""
    first = days[0]
    for view, zone, back in (
        ("earlier", "raw", query.earlier_days()),
        ("reference", "validated", query.reference_days()),
    ):
        past = [
            data.partition(zone, table.name, day)
            for day in (data.days(zone, table.name) if first is not None and back else ())
            if first is not None and first - timedelta(back) <= day < first
        ]
        if past:
            _view(view, past, database)
        else:
            database.execute(f"create or replace view {view} as select * from rows where false")


def _view(
    name: str, uris: Sequence[str], database: duckdb.DuckDBPyConnection, without: Sequence[int] | npt.NDArray[Any] = ()
) -> None:
    """Create a view of partitions without the rows of these numbers."""
    numbers = ", ".join(map(str, without))
    condition = f" where file_row_number not in ({numbers})" if numbers else ""
    rows = parquet(uris, filename="'_file'", file_row_number="true")
    database.execute(
        f"create or replace view {name} as select * exclude (_file, file_row_number), {_day('_file')} as _partition, "
        f"file_row_number as _position from {rows}{condition}"
    )


def _day(file: str) -> str:
    return f"try_cast(parse_filename({file}, true) as date)"


def _sql_list(uris: Sequence[str]) -> str:
    return f"[{', '.join(map(pattern, uris))}]"


def _sample(database: duckdb.DuckDBPyConnection) -> tuple[dict[str, Any], ...]:
    rows = database.execute(f"select * from {BAD} order by all limit {SAMPLE}").df()
    return tuple(rows.drop(columns=["_position"]).astype(str).to_dict("records"))


def _positions(database: duckdb.DuckDBPyConnection) -> Positions:
    rows = database.execute(
        f"select _partition, list(distinct _position order by _position) from {BAD} group by _partition"
    ).fetchall()
    return {day: np.asarray(positions, dtype=np.int64) for day, positions in rows}


@contextmanager
def _database(data: Layout) -> Iterator[duckdb.DuckDBPyConnection]:
    spill = tempfile.mkdtemp(prefix="flightdeck-")
    try:
        with duckdb.connect() as database:
            database.execute(f"set memory_limit = '{MEMORY}'")
            database.execute(f"set temp_directory = {literal(spill)}")
            database.execute("set preserve_insertion_order = false")
            database.execute("set enable_progress_bar = false")
            database.execute("set parquet_metadata_cache = true")  # every query opens every partition
            if not data.store.local:
                database.register_filesystem(data.store.fs)
            yield database
    finally:
        shutil.rmtree(spill, ignore_errors=True)
