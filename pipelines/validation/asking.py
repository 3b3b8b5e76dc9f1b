"""Expectations in SQL: DuckDB runs them over all partitions, out of core, and Great Expectations judges the results."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import numpy.typing as npt

from pipelines.errors import InvalidInput
from pipelines.instants import sql_midnight
from pipelines.periods import A_MINUTE, Calendar, Period
from pipelines.quoting import literal, parquet, pattern, quoted, twins
from pipelines.usecase import RawTable, UseCase, calendar_of
from pipelines.validation.queries import BAD, ENDS_AT, REFERENCE_SCHEMA, Query, RowQuery, reference_table
from pipelines.validation.suite import Check, Result, Severity, evaluate

if TYPE_CHECKING:
    from pipelines.store import Layout

MEMORY = "512MB"  # DuckDB's limit; what exceeds it is spilled to the system's temporary folder
SAMPLE = 20

OURS = ("rows", "types", "earlier", "reference", BAD)  # views that every query may read
Positions = Mapping[Period | None, npt.NDArray[np.int64]]  # rows by partition


@dataclass(frozen=True)
class QueryOutcome:
    """The outcome of a query: its result and, of a failed one that quarantines rows, the bad rows."""

    result: Result
    bad: Positions = field(default_factory=dict)


def ask(
    table: RawTable,
    periods: Sequence[Period | None],
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
        _create_views(table, periods, database, usecase, data, apart)
        past = _Past(table, periods[0], calendar_of(usecase), data)
        return [_answer(check, past, database) for check in checks]


def _answer(check: Check, past: _Past, database: duckdb.DuckDBPyConnection) -> QueryOutcome:
    query = check.expectation
    assert isinstance(query, Query)
    try:
        past.create_views(query, database)
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
    periods: Sequence[Period | None],
    database: duckdb.DuckDBPyConnection,
    usecase: UseCase,
    data: Layout,
    apart: Mapping[str, npt.NDArray[np.int64]],
) -> None:
    """Create the views that every query may read."""
    calendar = calendar_of(usecase)
    ours = [data.partition("raw", table.name, period) for period in periods]
    database.execute(f"create macro partition_of(file) as {sql_partition('parse_filename(file, true)', calendar)}")
    database.execute(f"create macro {ENDS_AT}(period) as {sql_end('period', calendar)}")
    _view("rows", ours, database)
    database.execute(
        "create view types as select partition_of(file_name) as _partition, name, duckdb_type as type "
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


@dataclass(frozen=True)
class _Past:
    """The partitions of a table before those that are judged, which begin with `first`; none of a reference table."""

    table: RawTable
    first: Period | None
    calendar: Calendar
    data: Layout

    def create_views(self, query: Query, database: duckdb.DuckDBPyConnection) -> None:
        """Create the views `earlier` and `reference`, of as many days as a query needs."""
        for view, zone, back in (
            ("earlier", "raw", query.earlier_days()),
            ("reference", "validated", query.reference_days()),
        ):
            if past := self._partitions(zone, back):
                _view(view, past, database)
            else:
                database.execute(f"create or replace view {view} as select * from rows where false")

    def _partitions(self, zone: str, back: int) -> list[str]:
        """The partitions of the `back` days before the first one."""
        if self.first is None or not back:
            return []
        since, periods = self.calendar.back(self.first, back), self.data.periods(zone, self.table.name)
        return [self.data.partition(zone, self.table.name, one) for one in periods if since <= one < self.first]


def _view(
    name: str, uris: Sequence[str], database: duckdb.DuckDBPyConnection, without: Sequence[int] | npt.NDArray[Any] = ()
) -> None:
    """Create a view of partitions without the rows of these numbers."""
    numbers = ", ".join(map(str, without))
    condition = f" where file_row_number not in ({numbers})" if numbers else ""
    rows = parquet(uris, filename="'_file'", file_row_number="true")
    database.execute(
        f"create or replace view {name} as select * exclude (_file, file_row_number), "
        f"partition_of(_file) as _partition, "
        f"file_row_number as _position from {rows}{condition}"
    )


def sql_partition(name: str, calendar: Calendar) -> str:
    """SQL of the period that a partition's name names: a date, or a timestamp in UTC; null in a reference table."""
    return f"try_cast({name} as date)" if calendar.daily else f"try_strptime({name}, '%Y-%m-%dT%H%M%SZ')"


def sql_end(period: str, calendar: Calendar) -> str:
    """SQL of the instant at which a period ends."""
    if calendar.daily:
        return sql_midnight(f"{period} + 1", calendar.timezone)
    begins, zone = f"timezone('UTC', {period})", literal(calendar.timezone)
    next_day = sql_midnight(f"timezone({zone}, {begins})::date + 1", calendar.timezone)
    return f"least({begins} + interval {calendar.length // A_MINUTE} minutes, {next_day})"


def _sql_list(uris: Sequence[str]) -> str:
    return f"[{', '.join(map(pattern, uris))}]"


def _sample(database: duckdb.DuckDBPyConnection) -> tuple[dict[str, Any], ...]:
    rows = database.execute(f"select * from {BAD} order by all limit {SAMPLE}").df()
    return tuple(rows.drop(columns=["_position"]).astype(str).to_dict("records"))


def _positions(database: duckdb.DuckDBPyConnection) -> Positions:
    rows = database.execute(
        f"select _partition, list(distinct _position order by _position) from {BAD} group by _partition"
    ).fetchall()
    return {_utc(period): np.asarray(positions, dtype=np.int64) for period, positions in rows}


def _utc(period: Period | None) -> Period | None:
    return period.replace(tzinfo=UTC) if isinstance(period, datetime) else period


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
