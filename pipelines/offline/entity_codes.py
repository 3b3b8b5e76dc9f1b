"""Entities as integer codes, which join faster than keys: equal keys have equal codes, and an empty key has none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import InvalidInput

if TYPE_CHECKING:
    import pyarrow as pa

Codes = NDArray[np.int64]
FEW = 1 << 20  # combinations of keys up to which each has a code, whether such an entity exists or not
NONE = -1  # code of an entity with an empty key, or with keys that no feature row has


def entity_codes(
    keys: Sequence[tuple[str, pa.ChunkedArray, pa.ChunkedArray]], rows: int, lines: int
) -> tuple[Codes, Codes]:
    """Codes of the entities of feature rows and of entity rows.

    Args:
        keys: (name, values in the feature rows, values in the entity rows) of each join key; if empty, all rows have
            the same entity.

    Raises:
        InvalidInput: if the types of a key cannot be compared.
    """
    codes: tuple[Codes, Codes] = np.zeros(rows, np.int64), np.zeros(lines, np.int64)
    total = 1
    for name, of_rows, of_lines in keys:
        of_key, size = _codes_of_key(name, of_rows, of_lines)
        codes, total = _combine(codes, of_key, size, total * size)
    return codes


def _codes_of_key(name: str, of_rows: pa.ChunkedArray, of_lines: pa.ChunkedArray) -> tuple[tuple[Codes, Codes], int]:
    import pyarrow as pa
    import pyarrow.compute as pc

    indices = None
    if pa.types.is_dictionary(of_lines.type):  # each of its values is looked up once
        whole = of_lines.unify_dictionaries().combine_chunks()
        indices, of_lines = whole.indices, pa.chunked_array([whole.dictionary])
    try:
        of_lines, of_rows = _of_one_type(of_lines, of_rows)
    except (pa.ArrowException, TypeError):
        raise InvalidInput(
            f"key {name}: {of_lines.type} in the entity rows, {of_rows.type} in the features; give it one type"
        ) from None
    values = pc.unique(of_rows).drop_null()
    codes = [pc.fill_null(pc.index_in(column, value_set=values), NONE) for column in (of_rows, of_lines)]
    row_codes, line_codes = (column.to_numpy().astype(np.int64) for column in codes)
    if indices is not None:
        line_codes = np.append(line_codes, NONE)[pc.fill_null(indices, len(line_codes)).to_numpy().astype(np.int64)]
    return (row_codes, line_codes), len(values)


def _of_one_type(left: pa.ChunkedArray, right: pa.ChunkedArray) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    import pyarrow as pa

    kinds = left.type, right.type
    if all(map(pa.types.is_integer, kinds)):
        return left.cast(pa.int64()), right.cast(pa.int64())
    if all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in kinds):
        return left.cast(pa.float64()), right.cast(pa.float64())
    if left.type != right.type and not _texts(*kinds) and not pa.types.is_null(left.type):
        raise TypeError
    return left.cast(right.type), right


def _texts(*kinds: pa.DataType) -> bool:
    import pyarrow as pa

    return all(pa.types.is_string(kind) or pa.types.is_large_string(kind) for kind in kinds)


def _combine(
    left: tuple[Codes, Codes], right: tuple[Codes, Codes], size: int, total: int
) -> tuple[tuple[Codes, Codes], int]:
    """Codes of pairs of codes, and the number of possible pairs.

    A large number is reduced to the pairs that feature rows have, so that no product exceeds 64 bits.
    """
    rows, lines = (np.where((a < 0) | (b < 0), NONE, a * size + b) for a, b in zip(left, right, strict=True))
    if total <= FEW:
        return (rows, lines), total
    values = np.unique(rows[rows >= 0])
    return (_places(rows, values), _places(lines, values)), len(values)


def _places(codes: Codes, values: Codes) -> Codes:
    if not len(values):
        return np.full_like(codes, NONE)
    places = np.minimum(np.searchsorted(values, codes), len(values) - 1)
    return np.where(values[places] == codes, places, NONE)
