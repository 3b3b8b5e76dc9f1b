"""The subject of the checks: a use case with validated tables in memory, whole or as they stood at an instant."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.contract.report import Skipped
from pipelines.declare.tables import feature_rows
from pipelines.errors import InvalidInput, MissingData
from pipelines.features.declared import views_of
from pipelines.instants.arrow import INSTANT
from pipelines.periods import A_DAY
from pipelines.point_in_time import matured, read_tables
from pipelines.usecase import (
    DAY,
    KNOWN_AT,
    FeatureTable,
    Tables,
    UseCase,
    looks_ahead_of,
    partition_column,
)
from pipelines.windows import Window

if TYPE_CHECKING:
    from feast import FeatureView

    from pipelines.context import Context
    from pipelines.periods import Calendar, Period

DAYS = 14  # of the default window
LATER = 7  # days that are read behind a window, besides as many as labels take


@dataclass(frozen=True)
class CheckedUseCase:
    """A use case with its validated tables.

    Attributes:
        service: the feature service that models are trained on.
        window: the periods whose features and examples are examined.
        reach: those of the tables: before the window as far as features look back, behind it as far as there are any.
        tables: all raw tables, by name.
        seed: of every random draw.
    """

    usecase: UseCase
    service: str
    window: Window
    reach: Window
    tables: Tables
    seed: int

    @cached_property
    def daily(self) -> list[FeatureTable]:
        """The feature tables with periods."""
        return [table for table in self.usecase.feature_tables if table.daily]

    @cached_property
    def views(self) -> Mapping[str, FeatureView]:
        """What the feature repository declares."""
        return views_of(self.usecase)

    @cached_property
    def built(self) -> Mapping[str, pa.Table]:
        """Each daily feature table of the window, by name."""
        return {table.name: self.build(table, self.window) for table in self.daily}

    def draw(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    def cut(self, window: Window, tables: Tables | None = None) -> Tables:
        """The tables with the periods of a window alone, and whole reference tables."""
        tables, column = self.tables if tables is None else tables, partition_column(window.calendar)
        daily = [table.name for table in self.usecase.tables if table.daily]
        return {
            name: rows.filter(within(rows[column], window)) if name in daily else rows for name, rows in tables.items()
        }

    def sources(self, feature_table: FeatureTable, window: Window, tables: Tables | None = None) -> Tables:
        """The tables that `build` gets for a window: the table's sources, with its lookback days."""
        tables = self.tables if tables is None else tables
        wide = window.widened(feature_table.lookback_days, self.reach.start)
        return self.cut(wide, {name: tables[name] for name in feature_table.sources})

    def build(self, feature_table: FeatureTable, window: Window, tables: Tables | None = None) -> pa.Table:
        return feature_rows(self.usecase, feature_table, self.sources(feature_table, window, tables), window)

    def as_of(self, instant: datetime) -> Tables:
        """The tables up to the period of an instant and, if the use case declares it, as known at that instant."""
        calendar = self.window.calendar
        end = min(calendar.after(calendar.containing(instant)), self.reach.end)
        tables = self.cut(self.reach.between(self.reach.start, end))
        return self.usecase.as_known(tables, instant) if self.has_as_known else tables  # type: ignore[attr-defined]

    @property
    def has_as_known(self) -> bool:
        """Whether the use case can give its records as known at an instant."""
        return getattr(self.usecase, "as_known", None) is not None

    def examples(self, window: Window, until: Period | None = None, tables: Tables | None = None) -> pa.Table:
        """The examples of a window's local days, from tables up to a period, by default as far as labels look ahead."""
        rows = self.raw_examples(window, until, tables)
        return rows.filter(within(rows[DAY], window.in_periods(A_DAY)))

    def raw_examples(self, window: Window, until: Period | None = None, tables: Tables | None = None) -> pa.Table:
        """The examples of a window as the use case gives them."""
        return self.usecase.examples(
            self.cut(window.between(window.start, until or self.ahead(window)), tables), window
        )

    def ahead(self, window: Window) -> Period:
        """The end of the existing periods that the labels of a window read."""
        calendar = window.calendar
        until = window.end_at + looks_ahead_of(self.usecase)
        period = calendar.containing(until)
        end = period if calendar.start_at(period) == until else calendar.after(period)
        return min(max(window.end, end), self.reach.end)

    def due(self, examples: pa.Table, seen: datetime | None = None) -> pa.Table:
        """The examples whose labels have matured by an instant; by default by the end of the tables.

        Raises:
            Skipped: if there are none.
        """
        old = matured(examples, self.usecase.maturity, seen or self.reach.end_at)
        if not old.num_rows and seen is None:
            raise Skipped(
                f"no label of {self.window} has matured by {self.reach.end}; give a --start and --end that lie "
                f"{math.ceil(self.usecase.maturity / timedelta(days=1))} days before the last day that is validated"
            )
        return old


def within(column: pa.ChunkedArray, window: Window) -> pa.ChunkedArray:
    """Whether each day or beginning of a period lies in a window."""
    first, end = (pa.scalar(period, column.type) for period in (window.start, window.end))
    return pc.and_(pc.greater_equal(column, first), pc.less(column, end))


def known_by(rows: pa.Table, instant: datetime) -> pa.Table:
    """The feature rows that are known at an instant."""
    return rows.filter(pc.less_equal(rows[KNOWN_AT].cast(INSTANT, safe=False), pa.scalar(instant, INSTANT)))


def read_subject(context: Context, start: str | None, end: str | None, seed: int) -> CheckedUseCase:
    """The use case of a context with its validated tables.

    Args:
        start, end: of the window, both or none: then the last DAYS local days that are validated, of those whose
            labels have matured since if there are any.

    Raises:
        MissingData: if nothing is validated, or a period of the window is not.
        InvalidInput: if one of `start` and `end` is given without the other.
    """
    usecase, calendar = context.usecase, context.calendar
    if (start is None) != (end is None):
        raise InvalidInput("give both --start and --end, or none for the last days that are validated")
    names = [table.name for table in usecase.tables if table.daily]
    of_tables = [set(context.data.periods("validated", name)) for name in names]
    periods = sorted(set.intersection(*of_tables)) if of_tables else []
    if not periods:
        raise MissingData(
            f"no {calendar.noun} of {' and '.join(names) or usecase.name} is validated; run ingest, then validate"
        )
    if start is not None and end is not None:
        window = context.window(start, end)
    else:
        there = _stretch(periods, periods[-1], calendar)
        matured = calendar.earlier(periods[-1], -(-usecase.maturity // A_DAY))
        last = matured if matured > there[0] else periods[-1]
        first = max(calendar.back(last, DAYS - 1), there[0])
        window = Window(first, calendar.after(last), calendar.timezone, calendar.length)
    if lacking := [one for one in window.periods if one not in set(periods)]:
        raise MissingData(
            f"{lacking[0]} of the window {window} is not validated in every table; ingest and validate it, or choose "
            f"within {periods[0]} to {calendar.after(periods[-1])}"
        )
    stretch = _stretch(periods, window.start, calendar)
    days = -(-(looks_ahead_of(usecase) + usecase.maturity) // timedelta(days=1)) + LATER
    back = max(table.lookback_days for table in usecase.feature_tables)
    last = min(calendar.ahead(window.periods[-1], days)[-1], stretch[-1])
    reach = window.between(window.widened(back, stretch[0]).start, calendar.after(last))
    tables = read_tables(context.data, usecase, {table.name for table in usecase.tables}, reach)
    return CheckedUseCase(usecase, context.params.features.service, window, reach, tables, seed)


def _stretch(periods: Sequence[Period], around: Period, calendar: Calendar) -> list[Period]:
    """The periods around one that follow each other without a gap."""
    there, stretch = set(periods), [around]
    for period in reversed(periods[: periods.index(around)]):
        if calendar.after(period) != stretch[0]:
            break
        stretch.insert(0, period)
    while (later := calendar.after(stretch[-1])) in there:
        stretch.append(later)
    return stretch
