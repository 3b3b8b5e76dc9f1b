"""The rows of any feature table in a window: trailing measures are built by `build`, others by a query each."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from datetime import datetime

import duckdb
import pyarrow as pa

from pipelines.declare.build import build_trailing
from pipelines.declare.columns import columns_read, part_read
from pipelines.declare.events import Rows, name_of
from pipelines.declare.over import Trailing
from pipelines.declare.rows import Reader, connect
from pipelines.declare.views import Coded, Declared, Observed, Profile, Schedule
from pipelines.errors import CorruptData, InvalidInput
from pipelines.instants import MICROSECOND, micros, midnight, sql_micros, sql_midnight
from pipelines.instants.arrow import INSTANT
from pipelines.quoting import quoted
from pipelines.usecase import DAY, KNOWN_AT, FeatureTable, Tables, UseCase
from pipelines.windows import Window


def feature_rows(usecase: UseCase, feature_table: FeatureTable, tables: Tables, window: Window) -> pa.Table:
    """The rows of a feature table with KNOWN_AT in the window, from raw tables of the window and its lookback days.

    A view gets only the columns that it is known to read, so no other column can affect it.

    Raises:
        InvalidInput: if an expression is not one over the rows' columns, or cannot be a feature.
        CorruptData: if a record is known later than declared.
    """
    read = columns_read(feature_table)
    tables = {name: table.select(part_read(table.column_names, read)) for name, table in tables.items()}
    if isinstance(feature_table, Coded):
        return builder_of(feature_table)(tables, window)
    if not isinstance(feature_table, Declared):
        return usecase.build(feature_table, tables, window)
    try:
        if isinstance(feature_table, Trailing):
            return build_trailing(feature_table, tables, window)
        return _queried(feature_table, tables, window, midnight(usecase.start, usecase.timezone))
    except (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException) as error:
        problem = str(error).splitlines()[0]
        raise InvalidInput(f"view {feature_table.name}: {problem}; correct the declaration") from None
    except (duckdb.ConversionException, duckdb.OutOfRangeException) as error:
        problem = str(error).splitlines()[0]
        raise CorruptData(f"view {feature_table.name}: {problem}; leave such rows out by `where`") from None
    except InvalidInput as error:
        raise type(error)(f"view {feature_table.name}: {error}") from None


def builder_of(view: Coded) -> Callable[[Tables, Window], pa.Table]:
    """The function that builds a view.

    Raises:
        InvalidInput: if there is none of that name.
    """
    module, _, name = view.builder.partition(":")
    try:
        builder: Callable[[Tables, Window], pa.Table] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InvalidInput(
            f"view {view.name}: no builder {view.builder!r} ({error}); name it MODULE:FUNCTION"
        ) from error
    return builder


def _queried(view: Declared, tables: Tables, window: Window, start_at: datetime) -> pa.Table:
    """By KNOWN_AT and then by keys; profiles are known from the use case's first day on."""
    keys = ", ".join(map(quoted, view.keys))
    rows: Rows = getattr(view, "rows", "")
    with connect(tables, window.timezone, [rows]) as connection:
        reader = Reader(connection, window, view.keys)
        match view:
            case Observed():
                sql = _observed(view, reader)
            case Schedule():
                sql = _schedule(view, reader)
            case Profile():
                known = micros(start_at)
                sql = f"select {keys}, {known} as {KNOWN_AT}, {_expressions(view)} from {quoted(name_of(rows))}"
            case _:
                raise NotImplementedError(type(view).__name__)
        there = " and ".join(f"{quoted(key)} is not null" for key in view.keys)
        inside = (
            f"{KNOWN_AT} >= {micros(window.start_at)} and {KNOWN_AT} < {micros(window.end_at)}"
            if view.daily
            else "true"
        )
        made = connection.sql(
            f"select * from ({sql}) where {there} and {inside} order by {KNOWN_AT}, {keys}"
        ).to_arrow_table()
    place = made.column_names.index(KNOWN_AT)
    return made.set_column(place, KNOWN_AT, made[KNOWN_AT].cast(pa.int64()).cast(INSTANT))


def _observed(view: Observed, reader: Reader) -> str:
    """Each observation at the instant from which it is known, which is not before its period begins."""
    events, keys = view.events, ", ".join(map(quoted, view.keys))
    reader.note_events(events)
    reader.known(events)
    begins = _begins(view.rows, reader)
    known = f"{sql_micros(f'({events.at})')} + {events.delay // MICROSECOND}"
    known = f"greatest({known}, {begins})" if begins else known
    where = [f"({events.at}) is not null", *([f"({events.where})"] if events.where else [])]
    return (
        f"select {keys}, {known} as {KNOWN_AT}, {_expressions(view)} from {quoted(name_of(events.rows))} "
        f"where {' and '.join(where)}"
    )


def _schedule(view: Schedule, reader: Reader) -> str:
    """Windows over groups: each feature sums the numbers of rows of all groups with the same values of its keys.

    Raises:
        InvalidInput: if the rows have no periods.
    """
    keys, begins = ", ".join(map(quoted, view.keys)), _begins(view.rows, reader)
    if begins is None:
        raise InvalidInput(f"{name_of(view.rows)} has no days, as which a schedule could begin")
    counts = ", ".join(
        f"(sum(count(*)) over (partition by {', '.join([KNOWN_AT, *map(quoted, by)])}))::float as {quoted(name)}"
        for name, by in view.counts.items()
    )
    where = " and ".join([*reader.conditions(view.rows), *([f"({view.where})"] if view.where else [])])
    rows = f"select {keys}, {begins} as {KNOWN_AT} from {quoted(name_of(view.rows))} where {where}"
    return f"select {keys}, {KNOWN_AT}, {counts} from ({rows}) group by {keys}, {KNOWN_AT}"


def _begins(rows: Rows, reader: Reader) -> str | None:
    """SQL of the instant (microseconds) at which a row's period begins; None for rows without periods."""
    match reader.partition(rows):
        case None:
            return None
        case "local_day":
            return sql_micros(sql_midnight(quoted(DAY), reader.timezone))
        case column:
            return sql_micros(quoted(column))


def _expressions(view: Observed | Profile) -> str:
    return ", ".join(f"({sql})::float as {quoted(name)}" for name, sql in view.columns.items())
