"""Rows that lie in no period: they have no partition, and stay in quarantine until their source gives them a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from pipelines.errors import CorruptData, MissingData
from pipelines.ingestion.writing import canonical
from pipelines.sources.partitioning import partition_field
from pipelines.sources.types import declared_types
from pipelines.store.layout import UNDATED
from pipelines.usecase import partition_column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipelines.ingestion.staging import StagedRows
    from pipelines.params import Validation
    from pipelines.periods import Calendar
    from pipelines.store import Layout
    from pipelines.usecase import RawTable
    from pipelines.windows import Window

REASON = "no_day"


def standing(table: RawTable, data: Layout, calendar: Calendar) -> pa.Table:
    """The undated rows that earlier runs set apart, in the declared types.

    Raises:
        CorruptData: if they do not fit the types that are declared now.
    """
    place = data.partition("quarantine", table.name, UNDATED)
    types = declared_types(table) | dict([partition_field(calendar.daily)])
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
    rows: StagedRows, table: RawTable, window: Window, partitions: Sequence[str] | None, rules: Validation, data: Layout
) -> int:
    """Write undated rows to their one partition of the table, each once, and return how many it holds now.

    A row leaves it once its key is delivered with a day in a record that is not older.

    Args:
        partitions: the partitions that the delivered rows are merged into; None where they replace partitions.

    Raises:
        CorruptData: if too large a share of the window's rows is newly undated.
    """
    before, inside = rows.earlier_undated, rows.count([], *within(window))
    _require_few(rows.distinct_undated() - before.num_rows, inside, table, rules)  # before they are held in memory
    after = canonical(rows.undated(partitions), table, window.calendar)
    both = pa.concat_tables([before, after], promote_options="permissive")
    new = canonical(both, table, window.calendar).num_rows - before.num_rows
    _require_few(new, inside, table, rules)
    place = data.partition("quarantine", table.name, UNDATED)
    if after.num_rows:
        data.store.write_table(place, after.append_column("reason", pa.array([REASON] * after.num_rows, pa.string())))
    else:
        data.store.delete(place)
    return int(after.num_rows)


def within(window: Window) -> tuple[str, dict[str, object]]:
    """The SQL condition that a row lies in a window, and its parameters."""
    column = partition_column(window.calendar)
    return f"{column} >= $start and {column} < $end", {"start": window.start, "end": window.end}


def _require_few(new: int, inside: int, table: RawTable, rules: Validation) -> None:
    most = rules.max_quarantine_share
    if new > rules.quarantine_floor_rows and new > most * (inside + new):
        raise CorruptData(
            f"table {table.name}: {new} new rows have no {table.day} and so no partition, beside {inside} of the "
            f"window: more than max_quarantine_share {most:.2%} and than quarantine_floor_rows "
            f"{rules.quarantine_floor_rows}; correct the source"
        )
