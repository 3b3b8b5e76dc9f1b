"""The entities of several tables as codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.declare.slots import Whole
from pipelines.errors import InvalidInput

MOST = 1 << 62  # combinations of keys that a code can tell apart


@dataclass(frozen=True)
class Entities:
    """The distinct keys of tables, none of them null.

    Attributes:
        keys: a row for each entity, in the order of the keys.
        codes: of each table, (rows,) the entity of each row.
    """

    keys: pa.Table
    codes: tuple[Whole, ...]

    @classmethod
    def of(cls, tables: Sequence[pa.Table]) -> Entities:
        """The entities of tables of keys, of the same names and types."""
        try:
            whole = pa.concat_tables(tables)
        except pa.ArrowInvalid:
            kinds = " and ".join(dict.fromkeys(", ".join(map(str, table.schema.types)) for table in tables))
            names = ", ".join(tables[0].column_names)
            raise InvalidInput(f"the keys {names} are of the types {kinds}; cast them to one") from None
        combined, total = np.zeros(len(whole), dtype=np.int64), 1
        for name in whole.column_names:
            ranks, size = _ranked(whole[name])
            if total > MOST // max(size, 1):
                existing, combined = np.unique(combined, return_inverse=True)
                total = len(existing)
            combined = combined * size + ranks
            total *= size
        codes, count = _numbered(combined, total, 4 * max(len(whole), 1))
        rows = np.zeros(count, dtype=np.int64)
        rows[codes[::-1]] = np.arange(len(codes))[::-1]  # the first row of each entity
        bounds = np.cumsum([len(table) for table in tables])[:-1]
        return cls(whole.take(pa.array(rows)), tuple(np.split(codes, bounds)))

    def __len__(self) -> int:
        return len(self.keys)


def _ranked(column: pa.ChunkedArray) -> tuple[Whole, int]:
    """(rows,) the place of each row's value among the distinct values in order; and how many these are."""
    encoded = column.combine_chunks().dictionary_encode()
    order = np.asarray(pc.sort_indices(encoded.dictionary))
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.arange(len(order))
    return ranks[np.asarray(encoded.indices)], len(order)


def _numbered(combined: Whole, total: int, most: int) -> tuple[Whole, int]:
    """(rows,) the place of each number, all below `total`, among the distinct ones; and how many these are."""
    if total > most:  # few of all numbers exist
        existing, codes = np.unique(combined, return_inverse=True)
        return codes.astype(np.int64), len(existing)
    exists = np.zeros(total, dtype=bool)
    exists[combined] = True
    return (np.cumsum(exists, dtype=np.int64) - 1)[combined], int(exists.sum())
