"""SQL expressions over rows of raw tables as arrays: one query for all expressions of a view over the same rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.declare.events import Events, Measure, Prepared, Rows, name_of
from pipelines.declare.slots import Whole
from pipelines.errors import CorruptData, InvalidInput
from pipelines.instants import EPOCH, MICROSECOND, from_micros, micros, midnight, sql_micros
from pipelines.instants.arrow import INSTANT
from pipelines.quoting import literal, quoted
from pipelines.usecase import DAY, PERIOD, Tables, partition_column
from pipelines.windows import Window

NAT = np.iinfo(np.int64).min  # in place of a missing instant
WHOLE = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|BOOLEAN")
DECIMAL = re.compile(r"DECIMAL\(\d+,(\d+)\)")
Values = NDArray[np.int64] | NDArray[np.float64]


class Column(NamedTuple):
    """The values of an expression.

    Attributes:
        values: (N,) whole numbers, which stand for themselves divided by 10 ** digits, or floats.
        present: (N,) where there is a value; None where there is one everywhere.
    """

    values: Values
    digits: int
    present: NDArray[np.bool_] | None


def connect(tables: Tables, timezone: str, rows: Iterable[Rows] = ()) -> duckdb.DuckDBPyConnection:
    """A connection in a time zone, with the raw tables and the rows prepared from them."""
    connection = duckdb.connect()
    connection.execute(f"set timezone = {literal(timezone)}")
    for name, table in tables.items():
        connection.register(name, table)
    for one in dict.fromkeys(rows):
        if isinstance(one, Prepared):
            connection.execute(f"create temp view {quoted(one.name)} as {one.sql}")
    return connection


def query(sql: str, tables: Tables, window: Window, rows: Iterable[Rows] = ()) -> pa.Table:
    """Run one query over raw tables and rows prepared from them, in the window's zone; results have instants in UTC.

    `$start` and `$end` are the window's periods, `$from_at` and `$to_at` its instants.

    Raises:
        InvalidInput: if it is not a valid query over them.
    """
    known = {"start": window.start, "end": window.end, "from_at": window.start_at, "to_at": window.end_at}
    bindings = {name: value for name, value in known.items() if f"${name}" in sql}
    try:
        with connect(tables, window.timezone, rows) as connection:
            result = connection.sql(sql, params=bindings).to_arrow_table()
    except (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException) as error:
        raise InvalidInput(f"{str(error).splitlines()[0]}; correct the query {' '.join(sql.split())[:80]}...") from None
    if naive := [field.name for field in result.schema if pa.types.is_timestamp(field.type) and not field.type.tz]:
        raise InvalidInput(
            f"{', '.join(naive)} of the query {' '.join(sql.split())[:80]}...: a local time without a zone, which may "
            "be any instant; write (...)::timestamptz"
        )
    return in_utc(result)


def in_utc(rows: pa.Table) -> pa.Table:
    """The rows with their instants in UTC, to the microsecond."""
    fields = [field.with_type(INSTANT) if pa.types.is_timestamp(field.type) else field for field in rows.schema]
    return rows.cast(pa.schema(fields))


class Reader:
    """Reads expressions of rows that have all keys and belong to the window's periods or to earlier ones.

    Expressions are first collected, and then read together.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, window: Window, keys: Sequence[str]) -> None:
        self._connection, self._window, self._keys = connection, window, list(keys)
        self._wanted: dict[Rows, list[str]] = {}
        self._read: dict[Rows, pa.Table] = {}
        self._partitions: dict[Rows, str | None] = {}

    @property
    def timezone(self) -> str:
        return self._window.timezone

    @property
    def rows(self) -> list[Rows]:
        return [*self._wanted]

    def note(self, rows: Rows, *expressions: str) -> None:
        """Collect expressions that will be read."""
        wanted = self._wanted.setdefault(rows, [])
        wanted += [sql for sql in dict.fromkeys(expressions) if sql not in wanted]

    def keys(self, rows: Rows) -> pa.Table:
        return self._table(rows).select(self._keys)

    def get(self, rows: Rows, expression: str) -> pa.ChunkedArray:
        return self._table(rows)[f"e{self._wanted[rows].index(expression)}"]

    def instants(self, rows: Rows, expression: str) -> Whole:
        """(N,) microseconds since 1970; NAT where there is none."""
        return np.asarray(pc.fill_null(self.get(rows, expression), NAT), dtype=np.int64)

    def note_events(self, events: Events) -> None:
        """Collect the instants of events, which will be read."""
        self.note(events.rows, _happens(events))

    def known(self, events: Events) -> Whole:
        """(N,) the instant from which each row counts, microseconds since 1970; NAT for a row that is no event.

        Raises:
            CorruptData: if an event is known later than is declared.
        """
        known, begins = self.instants(events.rows, _happens(events)), self.begins(events.rows)
        known = np.where(known == NAT, NAT, known + events.delay // MICROSECOND)
        if begins is None:
            return known
        known = np.where(known == NAT, NAT, np.maximum(known, begins))
        late = known > self._day_begins(begins) + events.known_within // MICROSECOND
        if late.any():
            first = int(np.argmax(late))
            key = ", ".join(map(str, self.keys(events.rows).slice(first, 1).to_pylist()[0].values()))
            raise CorruptData(
                f"{name_of(events.rows)}: {late.sum()} events by {events.at} are known more than {events.known_within} "
                f"after their days began (the first: {key} at {from_micros(int(known[first]))}); quarantine such rows, "
                "or declare the Events with a longer `late`"
            )
        return known

    def happened(self, events: Events) -> Whole:
        """(N,) the instant at which each event happens, known or not yet."""
        return self.instants(events.rows, _happens(events))

    def begins(self, rows: Rows) -> Whole | None:
        """(N,) the instant (microseconds) at which each row's period begins; None for rows without periods."""
        column = self.partition(rows)
        if column is None:
            return None
        periods = self.get(rows, quoted(column))
        if column == PERIOD:
            return np.asarray(periods.cast(INSTANT).cast(pa.int64()), dtype=np.int64)
        days = np.asarray(periods.cast(pa.int32()), dtype=np.int64)
        first = int(days.min()) if len(days) else 0
        spread = range(first, int(days.max()) + 1 if len(days) else 0)
        starts = [micros(midnight(EPOCH.date() + timedelta(day), self._window.timezone)) for day in spread]
        return np.array(starts, dtype=np.int64)[days - first]

    def _day_begins(self, instants: Whole) -> Whole:
        """(N,) the instants at which the local days of instants begin."""
        if self._window.calendar.daily or not len(instants):
            return instants
        days = [self._window.calendar.day_of(from_micros(int(end))) for end in (instants.min(), instants.max())]
        span = range((days[1] - days[0]).days + 1)
        begins = [micros(midnight(days[0] + timedelta(number), self._window.timezone)) for number in span]
        return np.array(begins, dtype=np.int64)[np.searchsorted(begins, instants, side="right") - 1]

    def partition(self, rows: Rows) -> str | None:
        """The column with a row's period, if there is one.

        Raises:
            InvalidInput: if prepared rows have lost it.
        """
        if rows not in self._partitions:
            column = partition_column(self._window.calendar)
            there = column in {name for name, *_ in self._describe(rows, "*")}
            if not there and isinstance(rows, Prepared):
                daily = [one for one in rows.sources if column in {name for name, *_ in self._describe(one, "*")}]
                if daily:
                    raise InvalidInput(
                        f"{rows.name} has no {column}, by which rows of {daily[0]} tell their period; select it too"
                    )
            self._partitions[rows] = column if there else None
        return self._partitions[rows]

    def value(self, rows: Rows, measure: Measure) -> tuple[str, int]:
        """The SQL value of a measure (a whole number, a float or text), and its digits after the point.

        Raises:
            InvalidInput: if it is no expression of the rows' columns, or of a type that cannot be measured.
        """
        sql = f"({measure.of})"
        if measure.kind == "share":
            return f"{sql}::boolean::bigint", 0
        ((_, kind, *_),) = self._describe(rows, sql)
        if measure.kind == "distinct":
            return f"{sql}::varchar", 0
        if measure.decimals is not None:
            return f"round({sql}::double * {10**measure.decimals})::bigint", measure.decimals
        if WHOLE.fullmatch(kind):
            return f"{sql}::bigint", 0
        if decimal := DECIMAL.fullmatch(kind):
            return f"({sql} * {10 ** int(decimal[1])})::bigint", int(decimal[1])
        if kind in ("FLOAT", "DOUBLE"):
            return f"case when not isnan({sql}) then {sql}::double end", 0
        raise InvalidInput(f"{measure.kind} of {measure.of}, which is {kind}; declare an expression that is a number")

    def column(self, rows: Rows, sql: str, digits: int) -> Column:
        """The values of an expression that `value` gave; text as codes."""
        found = self.get(rows, sql)
        present = np.asarray(found.is_valid()) if found.null_count else None
        if pa.types.is_string(found.type):
            found = found.combine_chunks().dictionary_encode().indices
        return Column(found.fill_null(0).to_numpy(), digits, present)

    def _describe(self, rows: Rows, expression: str) -> list[tuple[str, ...]]:
        try:
            relation = self._connection.sql(f"describe select {expression} from {quoted(name_of(rows))}")
            described: list[tuple[str, ...]] = relation.fetchall()
        except duckdb.Error as error:
            raise InvalidInput(f"{name_of(rows)}: {str(error).splitlines()[0]}; correct the declaration") from None
        return described

    def _table(self, rows: Rows) -> pa.Table:
        if rows not in self._read:
            partition = self.partition(rows)
            self.note(rows, *([quoted(partition)] if partition else []))
            wanted = [*map(quoted, self._keys), *(f"{sql} as e{n}" for n, sql in enumerate(self._wanted[rows]))]
            where = " and ".join(self.conditions(rows)) or "true"
            sql = f"select {', '.join(wanted)} from {quoted(name_of(rows))} where {where}"
            self._read[rows] = self._connection.sql(sql).to_arrow_table()
        return self._read[rows]

    def conditions(self, rows: Rows) -> list[str]:
        """The SQL condition that all keys are present, and the row's period is not after the window."""
        end = literal(self._window.end.isoformat())
        kinds = {PERIOD: "timestamptz", DAY: "date", None: ""}
        partition = self.partition(rows)
        before = [f"{quoted(partition)} < {end}::{kinds[partition]}"] if partition else []
        return [*(f"{quoted(key)} is not null" for key in self._keys), *before]


def _happens(events: Events) -> str:
    """SQL of the instant (microseconds) at which an event happens; null for rows that are no events."""
    at = sql_micros(f"({events.at})")
    return f"case when {events.where} then {at} end" if events.where else at
