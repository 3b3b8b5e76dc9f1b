"""Conversion of tables to pandas without loss of digits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    import pandas as pd

WHOLE = 2**53  # up to here a float holds every whole number


def to_frame(table: pa.Table, **options: Any) -> pd.DataFrame:
    """A table as pandas: integers with nulls become floats, or objects where floats would lose digits.

    Lists stay lists, with None for what is null in them.
    """
    frame: pd.DataFrame = table.to_pandas(**options)
    for position, column in enumerate(table.columns):
        if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
            frame.isetitem(position, _series(column.to_pylist()))
        if pa.types.is_integer(column.type) and column.null_count and _is_large(column):
            frame.isetitem(position, column.to_pandas(integer_object_nulls=True))
    return frame


def _is_large(column: pa.ChunkedArray) -> bool:
    ends = pc.min_max(column).as_py()
    return ends["max"] is not None and (ends["max"] > WHOLE or ends["min"] < -WHOLE)


def _series(values: list[Any]) -> Any:
    import pandas as pd

    return pd.Series(values, dtype=object)
