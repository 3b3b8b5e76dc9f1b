"""Raw partitions: cutting ordered rows into days, and writing those that changed, each with a line in the history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import MissingData
from pipelines.records.partitions import PartitionHistory, Written
from pipelines.sources.conform import declared_types
from pipelines.store import Layout
from pipelines.store.layout import REFERENCE
from pipelines.usecase import DAY, RawTable
from pipelines.windows import Window

AT_ONCE = 256  # partitions whose lines are written in one transaction


@dataclass
class Tally:
    """What was written of a table.

    Attributes:
        repeated: rows that came more than once, all columns equal, of which one was kept.
        written: partitions that are new or changed.
        restated: days among them that had a partition before.
    """

    rows: int = 0
    repeated: int = 0
    written: int = 0
    restated: list[date] = field(default_factory=list)


def cut(
    rows: Iterable[pa.Table], table: RawTable, days: Iterable[date | None]
) -> Iterator[tuple[date | None, pa.Table]]:
    """One (day, rows) for each of `days`, in order, empty ones included. `rows` are batches ordered by day."""
    types = declared_types(table) | ({DAY: pa.date32()} if table.daily else {})
    empty = pa.table({name: pa.array([], kind) for name, kind in types.items()})
    if not table.daily:
        yield None, pa.concat_tables([empty, *rows], promote_options="permissive")
        return
    parts = _runs(rows)
    found = next(parts, None)
    for day in days:
        if found is None or found[0] != day:
            yield day, empty
        else:
            yield found
            found = next(parts, None)


def _runs(batches: Iterable[pa.Table]) -> Iterator[tuple[date | None, pa.Table]]:
    """(day, its rows); a day's rows may be spread over several batches."""
    held: list[pa.Table] = []
    today: date | None = None
    for batch in batches:
        days = batch[DAY].combine_chunks()
        ends = pc.run_end_encode(days).run_ends.to_pylist()
        for first, end in zip([0, *ends[:-1]], ends, strict=True):
            if (day := days[first].as_py()) != today and held:
                yield today, pa.concat_tables(held)
                held = []
            today = day
            held.append(batch.slice(first, end - first))
    if held:
        yield today, pa.concat_tables(held)


def settled(part: pa.Table, table: RawTable) -> pa.Table:
    """The rows once each, declared columns first, ordered by key and then by all else: no order of delivery shows."""
    names = [*table.columns, *([DAY] if table.daily else [])]
    names = [*names, *sorted(set(part.column_names) - set(names))]
    once = part.select(names).group_by(names, use_threads=False).aggregate([]) if part.num_rows else part.select(names)
    types = {field.name: field.type for field in part.schema}
    once = once.cast(pa.schema([(name, types[name]) for name in names]))
    return once.sort_by([(name, "ascending") for name in (*table.key, *(n for n in names if n not in table.key))])


def write(
    parts: Iterable[tuple[date | None, pa.Table]],
    table: RawTable,
    data: Layout,
    history: PartitionHistory,
    window: Window,
) -> Tally:
    """Write the partitions that are not yet as they should be, each after its line in the history.

    A run that is killed and run again leaves the same files and the same lines.
    """
    tally, newest, remaining = Tally(), history.newest(table.name), iter(parts)
    asked = (window.end_at, window.start.isoformat(), window.end.isoformat())
    while group := list(islice(remaining, AT_ONCE)):
        lines: list[Written] = []
        contents: list[tuple[str, bytes]] = []
        for day, part in group:
            rows = settled(part, table)
            tally.rows += rows.num_rows
            tally.repeated += part.num_rows - rows.num_rows
            content, name = data.store.encode(rows), REFERENCE if day is None else day.isoformat()
            uri, sha256 = data.partition("raw", table.name, day), data.store.sha256(content)
            stands = data.store.digest(uri)
            if stands != sha256:
                contents.append((uri, content))
                tally.written += 1
                if stands is not None and day is not None:
                    tally.restated.append(day)
            if newest.get(name) != sha256:
                added, removed = (None, None) if stands is None else compare(data, uri, rows)
                lines.append(Written(table.name, name, sha256, rows.num_rows, added, removed, *asked))
        history.note(lines)
        for uri, content in contents:
            data.store.write_bytes(uri, content)
    return tally


def compare(data: Layout, uri: str, rows: pa.Table) -> tuple[int, int]:
    """Rows that a partition gains and loses when `rows` take its place."""
    try:
        old, new = _counted(data.store.read_table(uri)), _counted(rows)
    except MissingData:
        return rows.num_rows, 0
    return (new - old).total(), (old - new).total()


def _counted(rows: pa.Table) -> Counter[Any]:
    names = sorted(rows.column_names)
    return Counter(zip(*(rows[name].to_pylist() for name in names), strict=True))
