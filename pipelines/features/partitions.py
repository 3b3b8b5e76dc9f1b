"""Feature rows by the local day on which they were known."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import CorruptData, MissingData
from pipelines.store import Layout
from pipelines.usecase import KNOWN_AT, FeatureTable, UseCase
from pipelines.windows import Window, midnight


def earliest_day(data: Layout, usecase: UseCase, names: set[str], window: Window) -> date:
    """The first day from which every daily table is there without a gap up to the window.

    History begins somewhere: a trailing feature near that day rests on fewer days. A gap inside history is not this
    function's to hide: reading across it fails.
    """
    daily = [table.name for table in usecase.tables if table.daily and table.name in names]
    firsts = [days[0] for name in daily if (days := data.days("validated", name))]
    return min(max(firsts, default=usecase.start), window.start)


def require_no_gap(data: Layout, usecase: UseCase, as_of: datetime) -> None:
    """Check that every daily feature table has each day from its first up to `as_of`.

    Raises:
        MissingData: naming the table and the first day that it lacks.
    """
    last = (as_of - timedelta(microseconds=1)).astimezone(ZoneInfo(usecase.timezone)).date()
    for name in [table.name for table in usecase.feature_tables if table.daily]:
        built = data.days("features", name)
        lacking = set(Window(min(built, default=last), last + timedelta(1), usecase.timezone).days) - set(built)
        if lacking:
            raise MissingData(
                f"features/{name} lacks {min(lacking)}, which is before {as_of}; build the features of it"
            )


def split_by_knowledge(
    feature_table: FeatureTable, rows: pa.Table, window: Window
) -> Iterator[tuple[date | None, pa.Table]]:
    """One (day, rows) for each day of the window by `KNOWN_AT`, or one (None, rows) for a table without days.

    Raises:
        CorruptData: if a row's knowledge time is null or lies outside the window: the use case broke its contract.
    """
    if not feature_table.daily:
        yield None, rows
        return
    known = rows[KNOWN_AT]
    outside = pc.or_kleene(
        pc.less(known, pa.scalar(window.start_at)), pc.greater_equal(known, pa.scalar(window.end_at))
    )
    if known.null_count or pc.any(outside).as_py():
        raise CorruptData(f"feature table {feature_table.name} has rows whose {KNOWN_AT} is null or outside {window}")
    for day in window.days:
        begin, end = (pa.scalar(midnight(d, window.timezone)) for d in (day, day + timedelta(1)))
        yield day, rows.filter(pc.and_(pc.greater_equal(known, begin), pc.less(known, end)))
