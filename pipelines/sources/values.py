"""Arrow columns from Python values, as JSON and databases deliver them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import CorruptData
from pipelines.instants.arrow import INSTANT
from pipelines.sources.arrow_values import UNFIT
from pipelines.sources.casting import Unfit, cast
from pipelines.sources.types import arrow_type
from pipelines.usecase import RawTable

FLAT = (bool, int, float, str, date)
NUMBERS = (bool, int, float, Decimal)  # in this order: a bool is an int too
OTHERS = (*NUMBERS, str, bytes, datetime, date, time, timedelta, dict, list, tuple, set)


def table_of(names: Sequence[str], columns: Sequence[Sequence[Any]], table: RawTable, source: str) -> pa.Table:
    """A table of columns of values.

    Raises:
        CorruptData: if a column's name, or a value of a declared column, cannot be taken.
    """
    for name in names:
        if not _is_text(name):
            raise CorruptData(f"{source}: a column has the name {name!a:.80}, which is not text; correct the source")
    arrays = [column_of(name, values, table, source) for name, values in zip(names, columns, strict=True)]
    return pa.table(arrays, names=list(names))


def column_of(name: str, values: Sequence[Any], table: RawTable, source: str) -> pa.Array:
    """A column of values. A column that is not declared may mix types; its values then become text.

    Numbers of several types in a declared column are cast separately, so that none passes through another's type.

    Raises:
        CorruptData: if a declared column's values have no type in common, or one does not fit the declared type.
    """
    kinds = {type(value) for value in values if value is not None}
    if name not in table.columns:
        # Each value separately: Arrow would choose one type for all, and a value's text must not depend on the others.
        if len(kinds) == 1 and kinds <= {*FLAT}:
            try:
                return pa.array(values)
            except UNFIT:
                pass
        return pa.array([_word(value) for value in values], pa.string())
    target = arrow_type(table.columns[name])
    number_types = {_number(value) for value in values if value is not None}
    try:
        if None not in number_types and (len(kinds) > 1 or Decimal in number_types):
            return _each(values, target)
        return _alike(values, kinds, target)
    except Unfit as error:
        raise CorruptData(
            f"{source}: table {table.name}, column {name}: expected {target}, {error}; correct the source or the "
            "declaration"
        ) from None
    except UNFIT as error:
        raise CorruptData(
            f"{source}: column {name} holds values of several types, or one that no type holds "
            f"({' '.join(ascii(str(error))[1:-1].split())[:200]}); correct the source"
        ) from None


def _number(value: Any) -> type | None:
    return next((kind for kind in NUMBERS if isinstance(value, kind)), None)


def _each(values: Sequence[Any], target: pa.DataType) -> pa.Array:
    """Numbers of several types, each cast from its own type."""
    parts = []
    for kind in NUMBERS:
        own = [value if value is not None and _number(value) is kind else None for value in values]
        if any(value is not None for value in own):
            parts.append(_decimals(own, target) if kind is Decimal else _alike(own, {kind}, target, typed=True))
    return pc.coalesce(*parts) if len(parts) > 1 else parts[0]


def _decimals(values: Sequence[Decimal | None], target: pa.DataType) -> pa.Array:
    if not (pa.types.is_integer(target) or pa.types.is_floating(target) or pa.types.is_boolean(target)):
        example = next(value for value in values if value is not None)
        if not pa.types.is_decimal(target):
            raise Unfit(f"decimal (such as {example})")
    words = pa.array([None if value is None else str(value) for value in values], pa.string())
    return cast(pa.chunked_array([words]), target, "UTC", nulls=()).combine_chunks()


def _alike(values: Sequence[Any], kinds: set[type], target: pa.DataType, typed: bool = False) -> pa.Array:
    """Values of one type, in Arrow's type for it or, if `typed`, in the declared one."""
    if len(kinds) > 1:
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        example = next(value for value in values if value is not None)
        raise pa.ArrowTypeError(f"{names}, such as {example!r:.50}")
    if kinds == {int}:
        outside = [value for value in values if value is not None and not -(2**63) <= value < 2**63]
        if outside:
            return _large(values, outside[0], target)
    if kinds == {datetime}:
        zoned = {value.tzinfo is not None for value in values if value is not None}
        if len(zoned) > 1:
            raise pa.ArrowTypeError("some have an offset from UTC and some have none")
        if zoned == {True}:
            values = [None if value is None else value.astimezone(UTC) for value in values]
            return pa.array(values, INSTANT)
    if kinds & {memoryview, bytearray}:
        values = [None if value is None else bytes(value) for value in values]
    elif pa.types.is_string(target) and kinds and not issubclass(next(iter(kinds)), OTHERS):
        values = [None if value is None else str(value) for value in values]  # a UUID, an address, an enumeration
    array = pa.array(values)
    return cast(pa.chunked_array([array]), target, "UTC").combine_chunks() if typed else array


def _large(values: Sequence[int | None], outside: int, target: pa.DataType) -> pa.Array:
    """Whole numbers, some of them beyond int64."""
    if pa.types.is_unsigned_integer(target) and all(value is None or 0 <= value < 2**64 for value in values):
        return pa.array(values, pa.uint64())
    if pa.types.is_floating(target):
        try:
            odd = next((value for value in values if value is not None and int(float(value)) != value), None)
        except OverflowError:
            odd = outside
        if odd is None:
            return pa.array([None if value is None else float(value) for value in values], pa.float64())
        raise Unfit(f"{odd}"[:60], "a whole number that no float64 holds exactly")
    raise Unfit(f"{outside}"[:60], "out of the type's range")


def _is_text(name: Any) -> bool:
    try:
        return isinstance(name, str) and bool(name.encode())
    except UnicodeEncodeError:
        return False


def _word(value: Any) -> str | None:
    """A value as text, as Arrow would write it in a column of its type."""
    if value is None or isinstance(value, str):
        return value if value is None else value.encode(errors="backslashreplace").decode()
    if isinstance(value, bytes | bytearray | memoryview):
        content = bytes(value)
        try:
            return content.decode()
        except UnicodeDecodeError:
            return "\\x" + content.hex()
    if isinstance(value, UUID):
        return str(value)
    if not isinstance(value, dict | list):
        try:
            return str(pa.scalar(value).cast(pa.string()))
        except (*UNFIT, ValueError, TypeError):
            return str(value)
    try:
        return json.dumps(value, default=str)
    except (ValueError, TypeError, RecursionError):  # keys that are not text, as a database's arrays may hold
        return str(value)
