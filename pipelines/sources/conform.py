"""Delivered rows in the declared types, and what happens when a source changes its schema.

A declared column that is missing, or comes as another kind of value, is an error. A column that is not declared is
carried as text, so that it can be declared later and no change of its type matters until then. Names are literal; two
that differ only in the case of letters are refused, since SQL cannot tell them apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

from pipelines.errors import CorruptData
from pipelines.periods import Calendar
from pipelines.quoting import VIRTUAL, twins
from pipelines.sources.arrow_values import excerpt, text
from pipelines.sources.casting import Unfit, cast
from pipelines.sources.partitioning import partition_of
from pipelines.sources.shaping import matching, spelled
from pipelines.sources.source import Piece
from pipelines.sources.types import declared_types
from pipelines.usecase import DAY, RawTable, partition_column

# Names that the chain's own columns have, in partitions, in quarantine and while they are validated.
RESERVED = (DAY, "reason", "_file", "_partition", "_position", "_instant", *VIRTUAL)


def conform(piece: Piece, table: RawTable, calendar: Calendar, naive: str) -> pa.Table:
    """The declared columns in order and in their types, then the others as text, then the partition of a daily table.

    Rows that the source's `where` leaves out are gone.

    NaN becomes null: missing values have one representation.

    Args:
        calendar: of the periods that are the partitions.
        naive: the zone of instants that come without an offset.

    Raises:
        CorruptData: naming the source, the column, and the expected and the actual type.
    """
    try:
        return _conform_columns(piece, table, calendar, naive)
    except CorruptData as error:
        raise CorruptData(f"{piece.origin}: {error}" if piece.origin else str(error)) from None


def _conform_columns(piece: Piece, table: RawTable, calendar: Calendar, naive: str) -> pa.Table:
    rows, types, own = piece.rows, declared_types(table), partition_column(calendar)
    names = rows.column_names
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise CorruptData(f"table {table.name}: columns {twice} come twice; correct the source")
    require_columns(names, table)
    require_distinct([*names, *table.columns], table)
    _require_free(names, table, own)
    columns = {name: _typed(rows[name], kind, name, table, piece, naive) for name, kind in types.items()}
    columns |= {name: text(rows[name]) for name in names if name not in types and name != own}
    if table.day is not None:
        columns[own] = partition_of(columns[table.day], table, calendar)
    if own in names and not (own in columns and rows[own].equals(columns[own])):  # equal: a partition, read back
        raise _reserved(own, table)
    return matching(pa.table(columns), piece.reading.where, table)


def _typed(
    column: pa.ChunkedArray, target: pa.DataType, name: str, table: RawTable, piece: Piece, naive: str
) -> pa.ChunkedArray:
    try:
        words = spelled(column, target, piece)
        try:
            return cast(words, target, naive, piece.nulls, piece.reading.ambiguous)
        except Unfit as error:
            if words is column or error.row is None:
                raise
            value = f"{column.type} (such as {excerpt(column[error.row])})"
            raise Unfit(value, error.why, error.row, error.twice) from None
    except Unfit as error:
        remedy = "correct the source or the declaration"
        if error.twice:
            remedy = (
                "clocks show it twice: set `ambiguous` of the source to first or second, the instant that is meant, or "
                "let the source tell the offset"
            )
        elif piece.nulls is not None:
            remedy += (
                "; if the value stands for a missing one, add it to null_values of the source; if numbers or dates are "
                "spelt otherwise there, set its decimal, thousands or timestamp_format"
            )
        raise CorruptData(
            f"table {table.name}, column {name}: expected {target}, {error}{piece.place(error.row)}; {remedy}"
        ) from None


def require_columns(names: Sequence[str], table: RawTable) -> None:
    """Raises CorruptData where a declared column is missing, naming the first."""
    lacking = [name for name in table.columns if name not in names]
    if lacking:
        more = f" (and {len(lacking) - 1} more)" if len(lacking) > 1 else ""
        alike = next((f"; {name} is not {lacking[0]}" for name in names if name.lower() == lacking[0].lower()), "")
        raise CorruptData(
            f"table {table.name}: column {lacking[0]} is missing{more}; expected {table.columns[lacking[0]]}, found "
            f"only the columns {', '.join(names)[:200]}{alike}; correct the source or the declaration"
        )


def require_distinct(names: Iterable[str], table: RawTable) -> None:
    """Raises CorruptData where a column has no name, or two have names that differ only in the case of letters."""
    every = list(names)
    if "" in every:
        raise CorruptData(f"table {table.name}: a column has no name; give it one at the source, or in a view")
    if alike := twins(every):
        raise CorruptData(
            f"table {table.name}: the columns {alike[0]!r} and {alike[1]!r} differ only in the case of letters, and "
            "SQL cannot tell them apart; rename one at the source, or in a view"
        )


def _require_free(names: list[str], table: RawTable, own: str) -> None:
    """Raises CorruptData where a column has the name of one of the chain's own.

    Args:
        own: the column of the partition, which is checked when it is computed.
    """
    for name in (*names, *table.columns):
        if name.lower() in (*RESERVED, own) and (name != own or own in table.columns):
            raise _reserved(name, table)


def _reserved(name: str, table: RawTable) -> CorruptData:
    return CorruptData(
        f"table {table.name}: the name {name} is reserved for the chain; rename the column at the source, or in a view"
    )
