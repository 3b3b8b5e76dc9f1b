"""A table's raw partitions, read in chunks of whole partitions, so that a window may be larger than memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from pipelines.errors import CorruptData
from pipelines.periods import Period, name_of
from pipelines.sources.partitioning import count_others, partition_field
from pipelines.store import Layout
from pipelines.usecase import RawTable
from pipelines.windows import Window

CHUNK_ROWS = 200_000  # Great Expectations has a fixed cost for each call, and needs some 1 kB a row at its peak


@dataclass(frozen=True)
class Partition:
    """One partition as read.

    Attributes:
        period: None for a reference table.
        sha256: the digest of the file's bytes.
    """

    period: Period | None
    rows: int
    sha256: str


@dataclass(frozen=True)
class Chunk:
    """Whole partitions, concatenated in one table."""

    partitions: tuple[Partition, ...]
    table: pa.Table


def periods_of(table: RawTable, window: Window, required: Period, data: Layout) -> list[Period | None]:
    """The partitions of a window; [None] for a reference table.

    Args:
        required: every period of the window from this one on must be there; of earlier ones, those that were ingested.

    Raises:
        MissingData: if a required period was not ingested.
    """
    if not table.daily:
        return [None]
    earlier = [period for period in data.periods("raw", table.name) if window.start <= period < required]
    return [*earlier, *data.require("raw", table.name, window.between(required, window.end))]


def read_partition(table: RawTable, period: Period | None, data: Layout) -> tuple[Partition, pa.Table]:
    """One raw partition.

    Raises:
        MissingData: if it was not ingested.
        CorruptData: if it is not a whole Parquet file, or one of its rows has another period.
    """
    uri = data.partition("raw", table.name, period)
    content = data.store.read_bytes(uri)
    rows = data.store.parse_table(uri, content)
    if period is not None:
        _require_period(rows, period, f"raw/{table.name}/{name_of(period)}")
    return Partition(period, rows.num_rows, hashlib.sha256(content).hexdigest()), rows


def chunks(table: RawTable, periods: Sequence[Period | None], data: Layout) -> Iterator[Chunk]:
    """The partitions of `periods` in order, in chunks of at least CHUNK_ROWS rows (the last one may have fewer)."""
    partitions: list[Partition] = []
    tables: list[pa.Table] = []
    for period in periods:
        partition, rows = read_partition(table, period, data)
        partitions.append(partition)
        tables.append(rows)
        if sum(one.rows for one in partitions) >= CHUNK_ROWS:
            yield _chunk(partitions, tables)
            partitions, tables = [], []
    if partitions:
        yield _chunk(partitions, tables)


def _chunk(partitions: Sequence[Partition], tables: Sequence[pa.Table]) -> Chunk:
    return Chunk(tuple(partitions), pa.concat_tables(tables, promote_options="permissive"))


def _require_period(rows: pa.Table, period: Period, what: str) -> None:
    daily = not isinstance(period, datetime)
    column, _ = partition_field(daily)
    if column not in rows.column_names:
        raise CorruptData(f"{what} has no column {column}; a daily table needs it, so ingest the window again")
    if others := count_others(rows, period, daily):
        raise CorruptData(f"{what}: {others} rows have another {column}; ingest it again")
