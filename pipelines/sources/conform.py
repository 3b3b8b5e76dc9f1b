"""Delivered rows in the declared types, and what is done when a source changes its schema.

A declared column that is missing, or comes as another kind of value, is an error. A column that is not declared is
carried as text: it is kept for whoever declares it, and no later change of its type can hurt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import CorruptData, InvalidInput
from pipelines.usecase import DAY, RawTable

INSTANT = re.compile(r"timestamp\[(s|ms|us|ns), ?([^\]]+)\]")
OFFSET = r"(Z|[+-]\d\d:?\d\d)$"
FLAT = (bool, int, float, str, date, datetime)
UNFIT = (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError)
# Names that the chain's own columns have, in partitions, in quarantine and while they are validated.
RESERVED = (DAY, "reason", "_file", "_partition", "_position", "_instant")


def arrow_type(name: str) -> pa.DataType:
    """The type that a declaration names: Arrow's aliases, and `timestamp[us, UTC]` for instants.

    Raises:
        InvalidInput: if there is no such type.
    """
    if found := INSTANT.fullmatch(name):
        return pa.timestamp(found[1], tz=found[2])
    try:
        return pa.type_for_alias(name)
    except ValueError:
        raise InvalidInput(
            f"{name!r} is no type of a column; write int32, float64, string or timestamp[us, UTC]"
        ) from None


def declared_types(table: RawTable) -> dict[str, pa.DataType]:
    return {name: arrow_type(kind) for name, kind in table.columns.items()}


def conform(rows: pa.Table, table: RawTable, zone: str, naive: str) -> pa.Table:
    """The declared columns in order and in their types, then the others as text, then DAY for a daily table.

    NaN becomes null: there is one word for missing.

    Args:
        zone: whose local days are the partitions.
        naive: zone of instants that come without an offset.

    Raises:
        CorruptData: naming column, expected and found.
    """
    names, types = rows.column_names, declared_types(table)
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise CorruptData(f"table {table.name}: columns {twice} come twice; correct the source")
    require_columns(names, table)
    _require_free(names, table)
    columns = {
        name: _typed(rows[name], kind, f"table {table.name}, column {name}", naive) for name, kind in types.items()
    }
    columns |= {name: _text(rows[name]) for name in names if name not in types and name != DAY}
    if table.day is not None:
        columns[DAY] = _local_day(columns[table.day], zone)
    if DAY in names and not (DAY in columns and rows[DAY].equals(columns[DAY])):  # equal: a partition, read back
        raise _reserved(DAY, table)
    return pa.table(columns)


def from_values(name: str, values: Sequence[Any], table: RawTable, source: str) -> pa.Array:
    """A column from Python's values. One that is not declared may hold any: unlike ones are told as text.

    Raises:
        CorruptData: if a declared column's values have no type in common.
    """
    kinds = {type(value) for value in values if value is not None}
    # Each by itself where Arrow would find a type for all: a record's text must not depend on its neighbours.
    if name not in table.columns and (len(kinds) > 1 or not kinds <= {*FLAT}):
        return pa.array(map(_word, values), pa.string())
    try:
        return pa.array(values)
    except UNFIT as error:
        if name not in table.columns:
            return pa.array(map(_word, values), pa.string())
        raise CorruptData(
            f"{source}: column {name} holds values of several types, or one that no type holds ({_plain(error)}); "
            "correct the source"
        ) from None


def _word(value: Any) -> str | None:
    """A value as text, as Arrow would write it in a column of its type."""
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, dict | list):
        try:
            return str(pa.scalar(value).cast(pa.string()))
        except UNFIT:
            pass
    return json.dumps(value, default=str)


def require_columns(names: list[str], table: RawTable) -> None:
    """Raises CorruptData where a declared column is missing, naming the first."""
    lacking = [name for name in table.columns if name not in names]
    if lacking:
        more = f" (and {len(lacking) - 1} more)" if len(lacking) > 1 else ""
        raise CorruptData(
            f"table {table.name}: column {lacking[0]} is missing{more}; expected {table.columns[lacking[0]]}, found "
            f"only the columns {', '.join(names)[:200]}; correct the source or the declaration"
        )


def _require_free(names: list[str], table: RawTable) -> None:
    """Raises CorruptData where a column has a name that the chain gives to one of its own; DAY is for later."""
    for name in (*names, *table.columns):
        if name.lower() in RESERVED and (name != DAY or DAY in table.columns):  # SQL tells no a from A
            raise _reserved(name, table)


def _reserved(name: str, table: RawTable) -> CorruptData:
    return CorruptData(
        f"table {table.name}: the chain has a column {name} of its own; rename the source's at the source, or in a view"
    )


def _kind(type_: pa.DataType) -> str:
    kinds = {
        "number": (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal),
        "text": (pa.types.is_string, pa.types.is_large_string),
        "time": (pa.types.is_timestamp,),
        "day": (pa.types.is_date,),
        "missing": (pa.types.is_null,),
    }
    return next((kind for kind, tests in kinds.items() if any(test(type_) for test in tests)), str(type_))


def _typed(column: pa.ChunkedArray, wanted: pa.DataType, what: str, naive: str) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
    found, kind = _kind(column.type), _kind(wanted)
    try:
        if kind == "time" and found in ("text", "time"):
            return _instants(column, wanted, naive)
        if found in (kind, "missing") or (found, kind) == ("text", "day"):
            return column.cast(wanted)
    except pa.ArrowInvalid as error:
        raise CorruptData(
            f"{what}: expected {wanted}, found {column.type}: {_plain(error)}; correct the source"
        ) from None
    example = next((value.as_py() for chunk in column.chunks for value in chunk if value.is_valid), None)
    raise CorruptData(
        f"{what}: expected {wanted}, found {column.type} (such as {example!r:.50}); correct the source or declare it so"
    )


def _instants(column: pa.ChunkedArray, wanted: pa.DataType, naive: str) -> pa.ChunkedArray:
    """Instants in the wanted type. Without an offset they are local times, each of which must be one instant."""
    if _kind(column.type) == "text":
        stripped = pc.utf8_trim_whitespace(column)
        zoned = pc.match_substring_regex(stripped, OFFSET)
        every = pc.all(zoned).as_py()
        if every is False and pc.any(zoned).as_py():
            raise pa.ArrowInvalid("some have an offset from UTC and some have none")
        column = stripped.cast(pa.timestamp("us", "UTC") if every else pa.timestamp("us"))
    if wanted.tz is not None and column.type.tz is None:
        column = pc.assume_timezone(column, naive)
    return column.cast(wanted)


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        values = (None if value is None else json.dumps(value, default=str) for value in column.to_pylist())
        return pa.chunked_array([pa.array(values, pa.string())])


def _local_day(column: pa.ChunkedArray, zone: str) -> pa.ChunkedArray:
    if pa.types.is_timestamp(column.type):
        if column.type.tz is not None:
            column = pc.local_timestamp(column.cast(pa.timestamp("us", tz=zone)))
        # safe casts refuse to drop the time of day
        return column.cast(pa.timestamp("s"), safe=False).cast(pa.date32(), safe=False)
    return column.cast(pa.date32())


def _plain(error: Any) -> str:
    return " ".join(str(error).split())[:200]
