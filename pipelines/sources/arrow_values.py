"""Arrow's values without their encodings, and as text."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

UNFIT = (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, UnicodeError)
NOT_PYTHONS = (ValueError, OverflowError, KeyError)  # raised for nanoseconds, dates and zones that Python lacks


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The same values in a type without an encoding of its own: no dictionary, run ends, views or extension."""
    while True:
        kind = column.type
        if isinstance(kind, pa.UuidType):
            words = [None if one is None else str(uuid.UUID(bytes=one)) for one in _storage(column).to_pylist()]
            column = pa.chunked_array([pa.array(words, pa.string())])
        elif isinstance(kind, pa.Bool8Type):
            column = pc.not_equal(_storage(column), 0)
        elif isinstance(kind, pa.BaseExtensionType):
            column = _storage(column)
        elif pa.types.is_dictionary(kind):
            column = pa.chunked_array([one.dictionary_decode() for one in column.chunks], kind.value_type)
        elif pa.types.is_run_end_encoded(kind):
            column = pa.chunked_array([pc.run_end_decode(one) for one in column.chunks], kind.value_type)
        elif pa.types.is_string_view(kind) or pa.types.is_large_string(kind):
            column = column.cast(pa.string())
        elif pa.types.is_binary_view(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
            column = column.cast(pa.binary())
        else:
            return column


def _storage(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pa.chunked_array([one.storage for one in column.chunks], column.type.storage_type)


def text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of any type as text; the text of a value does not depend on the other values."""
    column = plain(column)
    if pa.types.is_floating(column.type):
        column = without_nan(column)
    if not pa.types.is_nested(column.type):
        try:
            return column.cast(pa.string())
        except UNFIT:
            if pa.types.is_timestamp(column.type) and column.type.tz != "UTC":  # an unknown zone
                return text(column.cast(pa.int64()).cast(pa.timestamp(column.type.unit, "UTC")))
    return pa.chunked_array([pa.array([_word(value) for chunk in column.chunks for value in chunk], pa.string())])


def without_nan(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column with null in place of NaN."""
    if pa.types.is_float16(column.type):
        return without_nan(column.cast(pa.float32())).cast(pa.float16(), safe=False)
    return pc.if_else(pc.is_nan(column), None, column)


def _word(scalar: pa.Scalar) -> str | None:
    value = _value(scalar)
    return value if value is None or isinstance(value, str) else json.dumps(value, default=str)


def _value(scalar: pa.Scalar) -> Any:
    """A value as JSON can hold it."""
    if not scalar.is_valid:
        return None
    if isinstance(scalar, pa.UnionScalar | pa.RunEndEncodedScalar | pa.DictionaryScalar):
        inner = scalar.value
        return _value(inner) if isinstance(inner, pa.Scalar) else inner
    if isinstance(scalar, pa.StructScalar) and not isinstance(scalar.type, pa.BaseExtensionType):
        return {name: _value(scalar[number]) for number, name in enumerate(field.name for field in scalar.type)}
    if isinstance(scalar, pa.ListScalar | pa.LargeListScalar | pa.FixedSizeListScalar | pa.ListViewScalar):
        return [_value(one) for one in scalar.values]
    if isinstance(scalar, pa.BinaryScalar | pa.BinaryViewScalar | pa.LargeBinaryScalar):
        content = scalar.as_py()
        try:
            return content if isinstance(content, str) else content.decode()
        except UnicodeDecodeError:
            return "\\x" + content.hex()
    try:
        value = scalar.as_py()
        return value if isinstance(value, bool | int | float | str | list | dict) else str(value)
    except NOT_PYTHONS:
        return str(getattr(scalar, "value", scalar))


def excerpt(scalar: pa.Scalar) -> str:
    """A value as messages show it, cut to 60 characters."""
    try:
        return repr(scalar.as_py())[:60]
    except NOT_PYTHONS:
        return str(_value(scalar))[:60]
