"""Splitting of feature rows by the period in which they were known, and of windows into pieces."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from pipelines.errors import CorruptData
from pipelines.instants import micros
from pipelines.instants.arrow import INSTANT
from pipelines.periods import Period
from pipelines.store import Layout
from pipelines.usecase import KNOWN_AT, FeatureTable, UseCase
from pipelines.windows import Window


def earliest_period(data: Layout, usecase: UseCase, names: set[str], window: Window) -> Period:
    """The latest of the first periods of the daily tables, or the start of the window if that is earlier.

    History begins there: a trailing feature near it rests on fewer periods. A gap inside history is not hidden:
    reading across it fails.
    """
    daily = [table.name for table in usecase.tables if table.daily and table.name in names]
    firsts = [periods[0] for name in daily if (periods := data.periods("validated", name))]
    return min(max(firsts, default=window.calendar.first_of(usecase.start)), window.start)


def split_by_knowledge(
    feature_table: FeatureTable, rows: pa.Table, window: Window
) -> Iterator[tuple[Period | None, pa.Table]]:
    """(period, rows) for each period of the window by `KNOWN_AT`, or (None, rows) for a table without periods.

    Raises:
        CorruptData: if a row's knowledge time is null or outside the window, which violates the use case's contract.
    """
    if not feature_table.daily:
        yield None, rows
        return
    kind = rows.schema.field(KNOWN_AT).type
    if pa.types.is_timestamp(kind) and kind.tz is None:
        raise CorruptData(
            f"feature table {feature_table.name} has {KNOWN_AT} without a zone, so that it may be any instant; give UTC"
        )
    if rows[KNOWN_AT].null_count:
        raise CorruptData(f"feature table {feature_table.name} has rows whose {KNOWN_AT} is null")
    instants = np.asarray(rows[KNOWN_AT].cast(INSTANT, safe=False).cast(pa.int64()))
    periods, calendar = window.periods, window.calendar
    starts = np.array([micros(calendar.start_at(period)) for period in (*periods, window.end)])
    number = np.searchsorted(starts, instants, side="right") - 1
    if len(number) and not 0 <= number.min() <= number.max() < len(periods):
        raise CorruptData(f"feature table {feature_table.name} has rows whose {KNOWN_AT} is outside {window}")
    if (np.diff(number) < 0).any():
        order = np.argsort(number, kind="stable")
        rows, number = rows.take(pa.array(order)), number[order]
    bounds = np.searchsorted(number, np.arange(len(starts)))
    for n, period in enumerate(periods):
        yield period, rows.slice(bounds[n], bounds[n + 1] - bounds[n])


def pieces(
    data: Layout, usecase: UseCase, feature_table: FeatureTable, window: Window, most_rows: int
) -> Iterator[tuple[Window, Window]]:
    """The window in pieces of whole periods, in order, each with the longer window of its sources.

    A piece has as many periods as its sources hold at most `most_rows` rows, or twice those that it looks back on where
    these are more (else most of the work would be to look back); but at least one. A table without periods has one.
    """
    names = set(feature_table.sources)
    not_before = earliest_period(data, usecase, names, window)
    reach = window.widened(feature_table.lookback_days, not_before)
    if not feature_table.daily:
        yield window, reach
        return
    periods = [*reach.periods, window.end]
    before = np.cumsum([0, *_rows(data, usecase, names, reach)])  # by periods since the reach begins
    start = window.start
    while start < window.end:
        first = window.between(start, window.end).widened(feature_table.lookback_days, not_before).start
        begins, looks_back = before[bisect_left(periods, first)], before[bisect_left(periods, start)]
        most = begins + max(most_rows, 2 * (looks_back - begins))
        fits = int(np.searchsorted(before, most, side="right")) - 1
        end = min(max(periods[fits], window.calendar.after(start)), window.end)
        yield window.between(start, end), window.between(first, end)
        start = end


def _rows(data: Layout, usecase: UseCase, names: set[str], reach: Window) -> list[int]:
    """Rows of the daily sources for each period; a missing one counts 0, and reading it fails later."""
    totals = dict.fromkeys(reach.periods, 0)
    for table in [table.name for table in usecase.tables if table.daily and table.name in names]:
        for period in totals.keys() & set(data.periods("validated", table)):
            totals[period] += data.store.count_rows(data.partition("validated", table, period))
    return list(totals.values())
