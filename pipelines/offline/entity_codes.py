"""Entities as small integers, which join faster than their keys: equal keys have equal codes, an empty key has none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import InvalidInput

if TYPE_CHECKING:
    import pyarrow as pa

Codes = NDArray[np.int64]
FEW = 1 << 20  # codes of all pairs of keys, whether there are such entities or not
NONE = -1  # code of an entity with an empty key, or with keys that no feature row has


def entity_codes(
    keys: Sequence[tuple[str, pa.ChunkedArray, pa.ChunkedArray]], rows: int, lines: int
) -> tuple[Codes, Codes]:
    """Codes of the entities of feature rows and of entity rows.

    Args:
        keys: (name, values in the feature rows, values in the entity rows) of each join key; without any, all are one.

    Raises:
        InvalidInput: if a key is of types that cannot be compared.
    """
    codes: tuple[Codes, Codes] = np.zeros(rows, np.int64), np.zeros(lines, np.int64)
    total = 1
    for name, known, asked in keys:
        of_key, size = _codes_of_key(name, known, asked)
        codes, total = _combined(codes, of_key, size, total * size)
    return codes


def _codes_of_key(name: str, known: pa.ChunkedArray, asked: pa.ChunkedArray) -> tuple[tuple[Codes, Codes], int]:
    import pyarrow as pa
    import pyarrow.compute as pc

    chosen = None
    if pa.types.is_dictionary(asked.type):  # each of its values is looked up once
        whole = asked.unify_dictionaries().combine_chunks()
        chosen, asked = whole.indices, pa.chunked_array([whole.dictionary])
    try:
        asked, known = _of_one_type(asked, known)
    except (pa.ArrowException, TypeError):
        raise InvalidInput(
            f"key {name}: {asked.type} in the entity rows, {known.type} in the features; give it one type"
        ) from None
    values = pc.unique(known).drop_null()
    codes = [pc.fill_null(pc.index_in(column, value_set=values), NONE) for column in (known, asked)]
    left, right = (column.to_numpy().astype(np.int64) for column in codes)
    if chosen is not None:
        right = np.append(right, NONE)[pc.fill_null(chosen, len(right)).to_numpy().astype(np.int64)]
    return (left, right), len(values)


def _of_one_type(asked: pa.ChunkedArray, known: pa.ChunkedArray) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    import pyarrow as pa

    kinds = asked.type, known.type
    if all(map(pa.types.is_integer, kinds)):
        return asked.cast(pa.int64()), known.cast(pa.int64())
    if all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in kinds):
        return asked.cast(pa.float64()), known.cast(pa.float64())
    if asked.type != known.type and not _texts(*kinds) and not pa.types.is_null(asked.type):
        raise TypeError
    return asked.cast(known.type), known


def _texts(*kinds: pa.DataType) -> bool:
    import pyarrow as pa

    return all(pa.types.is_string(kind) or pa.types.is_large_string(kind) for kind in kinds)


def _combined(
    left: tuple[Codes, Codes], right: tuple[Codes, Codes], size: int, total: int
) -> tuple[tuple[Codes, Codes], int]:
    """Codes of pairs of codes, and how many there may be.

    Where these are many, they become no more than there are feature rows: no product then outgrows 64 bits.
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
