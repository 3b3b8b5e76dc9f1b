"""Splitting a table into the partitions that the store keeps."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import CorruptData
from pipelines.usecase import DAY, RawTable
from pipelines.windows import Window


def split(table: RawTable, rows: pa.Table, window: Window) -> Iterator[tuple[date | None, pa.Table]]:
    """One (day, rows) for each day of the window, empty days included, or one (None, rows) for a reference table.

    Rows are sorted by the table's key, so that the order in which a source delivers them does not show in the bytes.

    Raises:
        CorruptData: if the source lacks a key column or the local day.
    """
    lacking = [column for column in (*table.key, *([DAY] if table.daily else [])) if column not in rows.column_names]
    if lacking:
        raise CorruptData(f"table {table.name} lacks the columns {lacking}; it has {rows.column_names}")
    ordered = rows.sort_by([(column, "ascending") for column in table.key])
    if not table.daily:
        yield None, ordered
        return
    for day in window.days:
        yield day, ordered.filter(pc.equal(ordered[DAY], pa.scalar(day)))
