"""The first difference between two tables that should hold the same rows."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc


def difference(one: pa.Table, other: pa.Table, keys: Sequence[str], *, exact: bool = False) -> str | None:
    """How two tables differ, as "A, and B" with the place; None where they do not. A NaN equals a NaN, or a null.

    Args:
        keys: columns that name a row in the answer, and by which rows are ordered unless exact.
        exact: whether order and types count.
    """
    if set(one.column_names) != set(other.column_names) or (exact and one.column_names != other.column_names):
        return f"the columns are {one.column_names}, and {other.column_names}"
    if one.num_rows != other.num_rows:
        return f"there are {one.num_rows} rows, and {other.num_rows}"
    if not one.num_rows:
        return None
    if not exact:
        one, other = (table.sort_by([(key, "ascending") for key in keys]) for table in (one, other))
    for name in [*keys, *(name for name in one.column_names if name not in keys)]:
        left, right = one[name].combine_chunks(), other[name].combine_chunks()
        if exact and left.type != right.type:
            return f"{name} is {left.type}, and {right.type}"
        row = _first(left, right)
        if row is not None:
            place = ", ".join(f"{key} {one[key][row]}" for key in keys)
            return f"{name} of {place} is {left[row]}, and {right[row]}"
    return None


def _first(left: pa.Array, right: pa.Array) -> int | None:
    """The first row in which two arrays differ."""
    try:
        if left.type != right.type and _is_number(left) and _is_number(right):
            left, right = left.cast(pa.float64()), right.cast(pa.float64())
        missing = [_is_missing(values) for values in (left, right)]
        same = pc.or_(pc.fill_null(pc.equal(left, right), False), pc.and_(*missing))
        row = int(pc.index(same, False).as_py())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):  # such as lists
        pairs = enumerate(zip(left.to_pylist(), right.to_pylist(), strict=True))
        row = next((n for n, (a, b) in pairs if a != b), -1)
    return row if row >= 0 else None


def _is_number(values: pa.Array) -> bool:
    kind = values.type
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind))


def _is_missing(values: pa.Array) -> pa.Array:
    missing = pc.is_null(values)
    return pc.or_(missing, pc.fill_null(pc.is_nan(values), True)) if pa.types.is_floating(values.type) else missing
