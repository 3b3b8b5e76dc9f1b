"""Feature rows that are pushed to the online store as they become known, before their day is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from feast import FeatureStore
from numpy.typing import NDArray

from pipelines.declare.tables import feature_rows
from pipelines.features.splitting import earliest_period
from pipelines.instants import MICROSECOND, local_day, midnight
from pipelines.offline.sources import source_of
from pipelines.online.opening import open_rows
from pipelines.online.rows import EncodedRows, OnlineView
from pipelines.periods import Calendar
from pipelines.point_in_time import read_tables
from pipelines.store import Layout
from pipelines.usecase import KNOWN_AT, FeatureTable, Tables, UseCase, calendar_of
from pipelines.windows import Window


def window_between(since: datetime, until: datetime, calendar: Calendar) -> Window:
    """The periods of the instants in (since, until]."""
    first, last = (calendar.containing(at) for at in (since + MICROSECOND, until))
    return Window(first, calendar.after(last), calendar.timezone, calendar.length)


def known_between(rows: pa.Table, since: datetime, until: datetime) -> pa.Table:
    """The rows known in (since, until]."""
    instants = rows[KNOWN_AT]
    return rows.filter(pc.and_(pc.greater(instants, pa.scalar(since)), pc.less_equal(instants, pa.scalar(until))))


def rows_to_push(
    data: Layout, usecase: UseCase, since: datetime, until: datetime
) -> Iterator[tuple[FeatureTable, pa.Table]]:
    """For each feature table the rows that became known in (since, until], from validated tables."""

    def read(feature_table: FeatureTable, window: Window) -> Tables:
        names = set(feature_table.sources)
        not_before = earliest_period(data, usecase, names, window)
        return read_tables(data, usecase, names, window.widened(feature_table.lookback_days, not_before))

    return rows_known(usecase, read, since, until)


def rows_known(
    usecase: UseCase, read: Callable[[FeatureTable, Window], Tables], since: datetime, until: datetime
) -> Iterator[tuple[FeatureTable, pa.Table]]:
    """For each feature table the rows that became known in (since, until].

    Rows are built by the function that builds past days. A table without periods is pushed whole whenever a day begins.

    Args:
        read: the sources of a table, with the days that it looks back from a window.
    """
    window = window_between(since, until, calendar_of(usecase))
    day_begins = since < midnight(local_day(until, window.timezone), window.timezone) <= until
    for feature_table in usecase.feature_tables:
        if not feature_table.daily and not day_begins:
            continue
        rows = feature_rows(usecase, feature_table, read(feature_table, window), window)
        yield feature_table, known_between(rows, since, until) if feature_table.daily else rows


class OnlineStore:
    """The online store of a project, for pushes."""

    def __init__(self, store: FeatureStore) -> None:
        self.rows, self.views = open_rows(store), {view.name: view for view in store.list_feature_views()}

    def push(self, feature_table: str, keys: tuple[str, ...], rows: pa.Table) -> int:
        """Write the newest of these rows of each entity; returns the number of entities.

        The rows must be known later than the online ones, which they replace, missing values included. Columns are
        named as in the files. A row without a key belongs to no entity, and one without an instant is not known.
        """
        view = self.views[feature_table]
        source = source_of(view)
        newest = rows.take(_newest(rows, keys))
        if len(newest):
            names = {column: name for name, column in source.stored.items()}
            table = newest.rename_columns([names.get(name, name) for name in newest.column_names])
            known_at = known_micros(table[source.timestamp])
            created_at = (
                known_micros(table[source.created]) if source.created in table.column_names else [None] * len(table)
            )
            self.rows.push(OnlineView.of(view), EncodedRows.of(view, table, known_at, created_at))
        return len(newest)


def _newest(rows: pa.Table, keys: tuple[str, ...]) -> NDArray[np.intp]:
    """The position of each entity's row that was known last; of several at one instant the last one."""
    known_at = known_micros(rows[KNOWN_AT])
    entities = [*zip(*(rows[key].to_pylist() for key in keys), strict=True)] if keys else [()] * len(rows)
    newest: dict[tuple[Any, ...], int] = {}
    known = [n for n, at in enumerate(known_at) if at is not None and None not in entities[n]]
    for n in sorted(known, key=known_at.__getitem__):
        newest[entities[n]] = n
    return np.array(sorted(newest.values()), dtype=np.intp)


def known_micros(instants: pa.ChunkedArray) -> list[Any]:
    """Microseconds since 1970 in UTC, None for null. Finer instants are rounded up, as offline."""
    plain = instants.cast(pa.timestamp(instants.type.unit))  # without its zone, in UTC
    if instants.type.unit == "ns":
        plain = pc.ceil_temporal(plain, unit="microsecond")
    micros: list[Any] = plain.cast(pa.timestamp("us")).cast(pa.int64()).to_pylist()
    return micros
