"""Feature rows by the local day on which they were known."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import numpy as np
import pyarrow as pa

from pipelines.errors import CorruptData
from pipelines.instants import micros, midnight
from pipelines.instants.arrow import INSTANT
from pipelines.store import Layout
from pipelines.usecase import KNOWN_AT, FeatureTable, UseCase
from pipelines.windows import Window


def earliest_day(data: Layout, usecase: UseCase, names: set[str], window: Window) -> date:
    """The first day from which every daily table is there without a gap up to the window.

    History begins somewhere: a trailing feature near that day rests on fewer days. A gap inside history is not this
    function's to hide: reading across it fails.
    """
    daily = [table.name for table in usecase.tables if table.daily and table.name in names]
    firsts = [days[0] for name in daily if (days := data.days("validated", name))]
    return min(max(firsts, default=usecase.start), window.start)


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
    if rows[KNOWN_AT].null_count:
        raise CorruptData(f"feature table {feature_table.name} has rows whose {KNOWN_AT} is null")
    known = np.asarray(rows[KNOWN_AT].cast(INSTANT, safe=False).cast(pa.int64()))
    begins = np.array([micros(midnight(day, window.timezone)) for day in (*window.days, window.end)])
    day = np.searchsorted(begins, known, side="right") - 1
    if len(day) and not 0 <= day.min() <= day.max() < len(window.days):
        raise CorruptData(f"feature table {feature_table.name} has rows whose {KNOWN_AT} is outside {window}")
    if (np.diff(day) < 0).any():
        order = np.argsort(day, kind="stable")
        rows, day = rows.take(pa.array(order)), day[order]
    bounds = np.searchsorted(day, np.arange(len(begins)))
    for n, found in enumerate(window.days):
        yield found, rows.slice(bounds[n], bounds[n + 1] - bounds[n])


def pieces(
    data: Layout, usecase: UseCase, feature_table: FeatureTable, window: Window, most_rows: int
) -> Iterator[tuple[Window, Window]]:
    """The window in pieces of whole days, in order, each with the longer window of sources that it rests on.

    A piece is as long as its sources hold at most `most_rows` rows, and a day at least. A table without days has one.
    """
    names = set(feature_table.sources)
    not_before = earliest_day(data, usecase, names, window)
    reach = window.widened(feature_table.lookback_days, not_before)
    if not feature_table.daily:
        yield window, reach
        return
    before = np.cumsum([0, *_rows(data, usecase, names, reach)])  # by days since the reach begins
    start = window.start
    while start < window.end:
        first = Window(start, window.end, window.timezone).widened(feature_table.lookback_days, not_before).start
        fits = int(np.searchsorted(before, before[(first - reach.start).days] + most_rows, side="right")) - 1
        end = min(max(reach.start + timedelta(fits), start + timedelta(1)), window.end)
        yield Window(start, end, window.timezone), Window(first, end, window.timezone)
        start = end


def _rows(data: Layout, usecase: UseCase, names: set[str], reach: Window) -> list[int]:
    """Rows of the daily sources, one number a day; a day that is lacking is for reading to complain of."""
    totals = dict.fromkeys(reach.days, 0)
    for table in [table.name for table in usecase.tables if table.daily and table.name in names]:
        for day in totals.keys() & set(data.days("validated", table)):
            totals[day] += data.store.count_rows(data.partition("validated", table, day))
    return list(totals.values())
