"""A table's raw partitions, read in chunks of whole days, so that a window may be larger than memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import CorruptData
from pipelines.store import Layout
from pipelines.usecase import DAY, RawTable
from pipelines.windows import Window

CHUNK_ROWS = 200_000  # Great Expectations has a fixed cost for each call, and needs some 1 kB a row at its peak


@dataclass(frozen=True)
class Partition:
    """One partition as read.

    Attributes:
        day: the local day; None for a reference table.
        sha256: the digest of the file's bytes.
    """

    day: date | None
    rows: int
    sha256: str


@dataclass(frozen=True)
class Chunk:
    """Whole partitions, concatenated in one table."""

    partitions: tuple[Partition, ...]
    table: pa.Table


def days_of(table: RawTable, window: Window, required: date, data: Layout) -> list[date | None]:
    """The partitions of a window; [None] for a reference table.

    Args:
        required: every day of the window from this one on must be there; of earlier days, those that were ingested.

    Raises:
        MissingData: if a required day was not ingested.
    """
    if not table.daily:
        return [None]
    earlier = [day for day in data.days("raw", table.name) if window.start <= day < required]
    return [*earlier, *data.require_days("raw", table.name, required, window.end)]


def read_partition(table: RawTable, day: date | None, data: Layout) -> tuple[Partition, pa.Table]:
    """One raw partition.

    Raises:
        MissingData: if it was not ingested.
        CorruptData: if it is not a whole Parquet file, or one of its rows has another day.
    """
    uri = data.partition("raw", table.name, day)
    content = data.store.read_bytes(uri)
    rows = data.store.parse_table(uri, content)
    if day is not None:
        _require_day(rows, day, f"raw/{table.name}/{day}")
    return Partition(day, rows.num_rows, hashlib.sha256(content).hexdigest()), rows


def chunks(table: RawTable, days: Sequence[date | None], data: Layout) -> Iterator[Chunk]:
    """The partitions of `days` in order, in chunks of at least CHUNK_ROWS rows (the last one may have fewer)."""
    partitions: list[Partition] = []
    tables: list[pa.Table] = []
    for day in days:
        partition, rows = read_partition(table, day, data)
        partitions.append(partition)
        tables.append(rows)
        if sum(one.rows for one in partitions) >= CHUNK_ROWS:
            yield _chunk(partitions, tables)
            partitions, tables = [], []
    if partitions:
        yield _chunk(partitions, tables)


def _chunk(partitions: Sequence[Partition], tables: Sequence[pa.Table]) -> Chunk:
    return Chunk(tuple(partitions), pa.concat_tables(tables, promote_options="permissive"))


def _require_day(rows: pa.Table, day: date, what: str) -> None:
    if DAY not in rows.column_names:
        raise CorruptData(f"{what} has no column {DAY}; a daily table needs it, so ingest the window again")
    same = pc.sum(pc.equal(rows[DAY], pa.scalar(day, pa.date32()))).as_py() or 0
    if same != rows.num_rows:
        raise CorruptData(f"{what}: {rows.num_rows - same} rows have another {DAY}; ingest it again")
