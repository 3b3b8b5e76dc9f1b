"""Raw partitions: splitting ordered rows by period, and writing changed partitions, each with a line in the history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.errors import CorruptData, MissingData
from pipelines.periods import Calendar, Period, name_of
from pipelines.records.partitions import PartitionHistory, Written
from pipelines.sources.partitioning import stored_types
from pipelines.store import Layout
from pipelines.store.layout import partition_name
from pipelines.usecase import RawTable, partition_column
from pipelines.windows import Window

AT_ONCE = 256  # partitions whose lines are written in one transaction


@dataclass
class Tally:
    """Counts of what was written for a table.

    Attributes:
        repeated: rows that duplicate another, all columns equal, and were dropped.
        partitions: number of partitions that are new or changed.
        restated: periods among them that had a partition before.
    """

    rows: int = 0
    repeated: int = 0
    partitions: int = 0
    restated: list[Period] = field(default_factory=list)


def split_by_period(
    rows: Iterable[pa.Table], table: RawTable, periods: Iterable[Period | None], calendar: Calendar
) -> Iterator[tuple[Period | None, pa.Table]]:
    """One (period, rows) for each of `periods`, in order, empty ones included. `rows` are batches in that order."""
    types = stored_types(table, calendar)
    empty = pa.table({name: pa.array([], kind) for name, kind in types.items()})
    if not table.daily:
        batches = [*rows]
        yield None, pa.concat_tables(batches) if batches else empty
        return
    parts = _runs(rows, partition_column(calendar))
    part = next(parts, None)
    for period in periods:
        if part is None or part[0] != period:
            yield period, empty
        else:
            yield part
            part = next(parts, None)


def _runs(batches: Iterable[pa.Table], column: str) -> Iterator[tuple[Period | None, pa.Table]]:
    """(period, its rows); the rows of a period may span several batches."""
    pending: list[pa.Table] = []
    current: Period | None = None
    for batch in batches:
        periods = batch[column].combine_chunks()
        ends = pc.run_end_encode(periods).run_ends.to_pylist()
        for first, end in zip([0, *ends[:-1]], ends, strict=True):
            if (period := periods[first].as_py()) != current and pending:
                yield current, pa.concat_tables(pending)
                pending = []
            current = period
            pending.append(batch.slice(first, end - first))
    if pending:
        yield current, pa.concat_tables(pending)


def canonical(part: pa.Table, table: RawTable, calendar: Calendar) -> pa.Table:
    """The rows once each, declared columns first, ordered by key and then by all other columns.

    So the result does not depend on the order of delivery. A column that is not declared stays only if a row has a
    value there, so that a partition does not depend on those that were delivered with it.
    """
    types = stored_types(table, calendar)
    others = sorted({name for name in part.column_names if part[name].null_count < part.num_rows} - set(types))
    names = [*types, *others]
    kinds = [types.get(name, part.schema.field(name).type) for name in names]
    part = part.select(names).cast(pa.schema(list(zip(names, kinds, strict=True))))
    numbers = [str(number) for number in range(len(names))]  # in a name, Arrow reads ".x" as a path into x
    once = part.rename_columns(numbers)
    if part.num_rows:
        once = once.group_by(numbers, use_threads=False).aggregate([]).select(numbers)
    order = [*table.key, *(name for name in names if name not in table.key)]
    return once.sort_by([(str(names.index(name)), "ascending") for name in order]).rename_columns(names)


def write(
    parts: Iterable[tuple[Period | None, pa.Table]],
    table: RawTable,
    data: Layout,
    history: PartitionHistory,
    window: Window,
) -> Tally:
    """Write the partitions that differ from what is stored, each after its line in the history.

    A run after one that was killed leaves the same files and the same lines.
    """
    tally, newest, remaining = Tally(), history.newest(table.name), iter(parts)
    window_fields = (window.end_at, name_of(window.start), name_of(window.end))
    while group := list(islice(remaining, AT_ONCE)):
        lines: list[Written] = []
        contents: list[tuple[str, bytes]] = []
        for period, part in group:
            rows = canonical(part, table, window.calendar)
            tally.rows += rows.num_rows
            tally.repeated += part.num_rows - rows.num_rows
            content, name = data.store.encode(rows), partition_name(period)
            uri, sha256 = data.partition("raw", table.name, period), data.store.sha256(content)
            current = data.store.digest(uri)
            if current != sha256:
                contents.append((uri, content))
                tally.partitions += 1
                if current is not None and period is not None:
                    tally.restated.append(period)
            if newest.get(name) != sha256:
                gain, loss = (None, None) if current is None else compare(data, uri, rows)
                lines.append(Written(table.name, name, sha256, rows.num_rows, gain, loss, *window_fields))
        history.note(lines)
        for uri, content in contents:
            data.store.write_bytes(uri, content)
    return tally


def columns_of(uris: Iterable[str], data: Layout) -> set[str]:
    """The names of the columns that partitions have, from their footers."""
    names: set[str] = set()
    for uri in uris:
        try:
            with data.store.fs.open(uri, "rb") as file:
                names |= set(pq.read_schema(file).names)
        except (pa.ArrowInvalid, OSError) as error:
            raise CorruptData(f"{uri} is not a whole Parquet file ({error}); delete it and ingest again") from None
    return names


def compare(data: Layout, uri: str, rows: pa.Table) -> tuple[int, int]:
    """The numbers of rows that a partition gains and loses when `rows` replace it."""
    try:
        before = data.store.read_table(uri)
    except MissingData:
        return rows.num_rows, 0
    names = sorted({*before.column_names, *rows.column_names})
    old, new = _row_counts(before, names), _row_counts(rows, names)
    return (new - old).total(), (old - new).total()


def _row_counts(rows: pa.Table, names: list[str]) -> Counter[Any]:
    """How often each row occurs; a column that is absent counts as missing values."""
    missing, have = [None] * rows.num_rows, set(rows.column_names)
    return Counter(zip(*(rows[name].to_pylist() if name in have else missing for name in names), strict=True))
