"""The entities of several tables as codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.declare.slots import Whole


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
        whole = pa.concat_tables(tables)
        combined, parts, total = np.zeros(len(whole), dtype=np.int64), [], 1
        for name in whole.column_names:
            values, ranks = _ranked(whole[name])
            combined = combined * len(values) + ranks
            parts.append(values)
            total *= len(values)
        if total > max(len(whole), 1) * 4:  # few of all combinations exist
            existing, codes = np.unique(combined, return_inverse=True)
        else:
            exists = np.zeros(total, dtype=bool)
            exists[combined] = True
            existing, codes = np.flatnonzero(exists), (np.cumsum(exists) - 1)[combined]
        columns, rest = {}, existing
        for name, values in zip(reversed(whole.column_names), reversed(parts), strict=True):
            rest, place = np.divmod(rest, max(len(values), 1))
            columns[name] = values.take(pa.array(place))
        bounds = np.cumsum([len(table) for table in tables])[:-1]
        keys = pa.table({name: columns[name] for name in whole.column_names}) if columns else pa.table({})
        return cls(keys, tuple(np.split(codes.astype(np.int64), bounds)))

    def __len__(self) -> int:
        return len(self.keys)


def _ranked(column: pa.ChunkedArray) -> tuple[pa.Array, Whole]:
    """The distinct values in order, and (rows,) the place of each row's value among them."""
    encoded = column.combine_chunks().dictionary_encode()
    order = np.asarray(pc.sort_indices(encoded.dictionary))
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.arange(len(order))
    return encoded.dictionary.take(pa.array(order)), ranks[np.asarray(encoded.indices)]
