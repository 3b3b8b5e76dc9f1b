"""The column with the partition of a row: its local day or, where periods are shorter, the beginning of its period."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import CorruptData
from pipelines.instants import arrow as instants
from pipelines.periods import Calendar, Period
from pipelines.sources.arrow_values import UNFIT
from pipelines.sources.types import declared_types
from pipelines.usecase import DAY, PERIOD, RawTable

DAYS = (-719_162, 2_932_896)  # since 1970: the first and the last that a date can be


def partition_field(daily: bool) -> tuple[str, pa.DataType]:
    """Name and type of the column, where partitions are days or (False) shorter periods."""
    return (DAY, pa.date32()) if daily else (PERIOD, instants.INSTANT)


def stored_types(table: RawTable, calendar: Calendar) -> dict[str, pa.DataType]:
    """The types of the columns that every partition has: the declared ones, and that of the partition."""
    types = declared_types(table)
    return types | dict([partition_field(calendar.daily)]) if table.daily else types


def count_others(rows: pa.Table, period: Period, daily: bool) -> int:
    """The number of rows that belong to another partition, or to none."""
    column, kind = partition_field(daily)
    same: int = pc.sum(pc.equal(rows[column], pa.scalar(period, kind))).as_py() or 0
    return int(rows.num_rows) - same


def partition_of(column: pa.ChunkedArray, table: RawTable, calendar: Calendar) -> pa.ChunkedArray:
    """The partition of each row, null where the table's column is.

    Raises:
        CorruptData: if a value is not in the years 1 to 9999 of the calendar's zone.
    """
    zone = calendar.timezone
    try:
        days = instants.local_day(column, zone)
    except UNFIT as error:
        raise CorruptData(f"table {table.name}, column {table.day}: no day in {zone} ({error})") from None
    first, last = (pc.min_max(days.cast(pa.int32()))[end].as_py() for end in ("min", "max"))
    if first is not None and not DAYS[0] <= first <= last <= DAYS[1]:
        raise CorruptData(f"table {table.name}, column {table.day}: a day in {zone} is not in the years 1 to 9999")
    return days if calendar.daily else _beginnings(column, days, calendar)


def _beginnings(column: pa.ChunkedArray, days: pa.ChunkedArray, calendar: Calendar) -> pa.ChunkedArray:
    """The beginning of the period in which each instant lies."""
    periods = sorted(one for day in pc.unique(days).drop_null().to_pylist() for one in calendar.of_day(day))
    starts = pa.array(periods, instants.INSTANT)
    ticks = instants.convert(column, instants.INSTANT, calendar.timezone).cast(pa.int64())
    index = np.searchsorted(np.asarray(starts.cast(pa.int64())), np.asarray(pc.fill_null(ticks, 0)), side="right") - 1
    return pa.chunked_array([starts.take(pa.array(index, mask=np.asarray(pc.is_null(ticks))))], instants.INSTANT)
