"""Splitting of feature rows by the local day on which they were known, and of windows into pieces."""

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
    """The latest of the first days of the daily tables, or the start of the window if that is earlier.

    History begins there: a trailing feature near that day rests on fewer days. A gap inside history is not hidden:
    reading across it fails.
    """
    daily = [table.name for table in usecase.tables if table.daily and table.name in names]
    firsts = [days[0] for name in daily if (days := data.days("validated", name))]
    return min(max(firsts, default=usecase.start), window.start)


def split_by_knowledge(
    feature_table: FeatureTable, rows: pa.Table, window: Window
) -> Iterator[tuple[date | None, pa.Table]]:
    """(day, rows) for each day of the window by `KNOWN_AT`, or (None, rows) for a table without days.

    Raises:
        CorruptData: if a row's knowledge time is null or outside the window, which violates the use case's contract.
    """
    if not feature_table.daily:
        yield None, rows
        return
    if rows[KNOWN_AT].null_count:
        raise CorruptData(f"feature table {feature_table.name} has rows whose {KNOWN_AT} is null")
    instants = np.asarray(rows[KNOWN_AT].cast(INSTANT, safe=False).cast(pa.int64()))
    starts = np.array([micros(midnight(day, window.timezone)) for day in (*window.days, window.end)])
    day = np.searchsorted(starts, instants, side="right") - 1
    if len(day) and not 0 <= day.min() <= day.max() < len(window.days):
        raise CorruptData(f"feature table {feature_table.name} has rows whose {KNOWN_AT} is outside {window}")
    if (np.diff(day) < 0).any():
        order = np.argsort(day, kind="stable")
        rows, day = rows.take(pa.array(order)), day[order]
    bounds = np.searchsorted(day, np.arange(len(starts)))
    for n, local_day in enumerate(window.days):
        yield local_day, rows.slice(bounds[n], bounds[n + 1] - bounds[n])


def pieces(
    data: Layout, usecase: UseCase, feature_table: FeatureTable, window: Window, most_rows: int
) -> Iterator[tuple[Window, Window]]:
    """The window in pieces of whole days, in order, each with the longer window of its sources.

    A piece has as many days as its sources hold at most `most_rows` rows, but at least one. A table without days has
    one piece.
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
    """Rows of the daily sources for each day; a missing day counts 0, and reading it fails later."""
    totals = dict.fromkeys(reach.days, 0)
    for table in [table.name for table in usecase.tables if table.daily and table.name in names]:
        for day in totals.keys() & set(data.days("validated", table)):
            totals[day] += data.store.count_rows(data.partition("validated", table, day))
    return list(totals.values())
