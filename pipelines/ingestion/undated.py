"""Rows without a local day: they have no partition, and wait in quarantine for their source to give them one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from pipelines.errors import CorruptData, MissingData
from pipelines.ingestion.partitions import settled
from pipelines.sources.types import declared_types
from pipelines.store.layout import UNDATED
from pipelines.usecase import DAY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipelines.ingestion.staging import Rows
    from pipelines.params import Validation
    from pipelines.store import Layout
    from pipelines.usecase import RawTable
    from pipelines.windows import Window

REASON = "no_day"


def standing(table: RawTable, data: Layout) -> pa.Table:
    """The undated rows that earlier runs set apart, in the declared types.

    Raises:
        CorruptData: if they were written under a declaration whose types they do not fit.
    """
    place, types = data.partition("quarantine", table.name, UNDATED), {**declared_types(table), DAY: pa.date32()}
    try:
        rows = data.store.read_table(place).drop_columns(["reason"])
    except MissingData:
        return pa.table({name: pa.array([], kind) for name, kind in types.items()})
    try:
        columns = {
            name: rows[name].cast(kind) if name in rows.column_names else pa.nulls(rows.num_rows, kind)
            for name, kind in types.items()
        }
    except pa.ArrowInvalid as error:
        raise CorruptData(f"{place} does not fit what {table.name} declares now ({error}); delete it") from None
    return pa.table(columns | {name: rows[name] for name in rows.column_names if name not in types})


def set_apart(
    rows: Rows, table: RawTable, window: Window, partitions: Sequence[str] | None, rules: Validation, data: Layout
) -> int:
    """Put undated rows into the table's one partition of them, each once; gives how many stand there now.

    Rows that came with their key and a day since, and are not older, leave.

    Args:
        partitions: those that the delivered rows are merged into; None where these replace.

    Raises:
        CorruptData: if too many are new, of as many as the window has rows.
    """
    before, inside = rows.apart, rows.count([], *within(window))
    _require_few(rows.distinct_undated() - before.num_rows, inside, table, rules)  # before they are held in memory
    after = settled(rows.undated(partitions), table)
    new = settled(pa.concat_tables([before, after], promote_options="permissive"), table).num_rows - before.num_rows
    _require_few(new, inside, table, rules)
    place = data.partition("quarantine", table.name, UNDATED)
    if after.num_rows:
        data.store.write_table(place, after.append_column("reason", pa.array([REASON] * after.num_rows, pa.string())))
    else:
        data.store.delete(place)
    return int(after.num_rows)


def within(window: Window) -> tuple[str, dict[str, object]]:
    """A condition on rows, and its parameters."""
    return f"{DAY} >= $start and {DAY} < $end", {"start": window.start, "end": window.end}


def _require_few(new: int, inside: int, table: RawTable, rules: Validation) -> None:
    most = rules.max_quarantine_share
    if new > rules.quarantine_floor_rows and new > most * (inside + new):
        raise CorruptData(
            f"table {table.name}: {new} new rows have no {table.day} and so no day, beside {inside} of the window: "
            f"more than max_quarantine_share {most:.2%} and than quarantine_floor_rows {rules.quarantine_floor_rows}; "
            "correct the source"
        )
