"""Tables in which later records are changed or removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.periods import Period
from pipelines.usecase import RawTable, Tables, UseCase, calendar_of, partition_column

SHARE = 0.2  # shares of the later rows that are removed, and that are repeated under another key


def altered_from(
    usecase: UseCase, tables: Tables, first: Period, draw: np.random.Generator, dealt: bool = True
) -> Tables:
    """The tables with the rows of a period and of later ones permuted, removed, and repeated under other keys.

    Args:
        dealt: whether single values are moved to other rows, which may give combinations that no row could have.
    """
    column, altered = partition_column(calendar_of(usecase)), dict(tables)
    for table in usecase.tables:
        if table.daily and table.name in tables:
            rows = tables[table.name]
            later = pc.greater_equal(rows[column], pa.scalar(first, rows[column].type))
            others = _others(rows.filter(later), table, column, draw, dealt)
            altered[table.name] = pa.concat_tables([rows.filter(pc.invert(later)), others])
    return altered


def _others(rows: pa.Table, table: RawTable, column: str, draw: np.random.Generator, dealt: bool) -> pa.Table:
    """Other possible rows in place of these: each keeps its period and instants, and values that occur."""
    fixed = {column, table.day, table.known}
    values = [name for name in rows.column_names if name not in {*fixed, *table.key}]
    rows = permuted(rows, values, draw) if dealt else rows
    kept = rows.filter(pa.array(draw.random(rows.num_rows) >= SHARE))
    copies = rows.filter(pa.array(draw.random(rows.num_rows) < SHARE))
    for key in table.key:
        copies = permuted(copies, [] if key in fixed else [key], draw)
    both = pa.concat_tables([kept, copies])
    twice = both.select(list(table.key)).to_pandas().duplicated().to_numpy()
    return both.filter(pa.array(~twice))


def without_later_records(usecase: UseCase, tables: Tables, instant: datetime) -> Tables:
    """The tables without the records whose knowledge time, the column `known` of their table, lies after an instant."""
    kept = dict(tables)
    for table in usecase.tables:
        if table.known is not None and table.name in tables:
            known = tables[table.name][table.known]
            kept[table.name] = tables[table.name].filter(pc.less_equal(known, pa.scalar(instant, known.type)))
    return kept


def with_other_outcomes(tables: Tables, outcomes: Mapping[str, Sequence[str]], draw: np.random.Generator) -> Tables:
    """The tables with their outcomes permuted among rows, those of one row together."""
    return {**tables, **{name: permuted(tables[name], columns, draw) for name, columns in outcomes.items()}}


def permuted(rows: pa.Table, columns: Sequence[str], draw: np.random.Generator) -> pa.Table:
    """The rows with some columns permuted together."""
    order = pa.array(draw.permutation(rows.num_rows))
    for name in columns:
        place = rows.column_names.index(name)
        rows = rows.set_column(place, rows.schema.field(name), rows[name].take(order))
    return rows
