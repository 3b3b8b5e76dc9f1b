"""Feature rows on their way to the online store as they become known, before their day is over."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from feast import FeatureStore

from pipelines.features.partitions import earliest_day
from pipelines.offline.frames import read_tables
from pipelines.online.rows import open_rows
from pipelines.store import Layout
from pipelines.usecase import KNOWN_AT, FeatureTable, UseCase
from pipelines.windows import Window, midnight

MOMENT = timedelta(microseconds=1)


def days_between(since: datetime, until: datetime, timezone: str) -> Window:
    """The local days of the instants in (since, until]."""
    first, last = ((at).astimezone(ZoneInfo(timezone)).date() for at in (since + MOMENT, until))
    return Window(first, last + timedelta(1), timezone)


def known_between(rows: pa.Table, since: datetime, until: datetime) -> pa.Table:
    """The rows known in (since, until]."""
    known = rows[KNOWN_AT]
    return rows.filter(pc.and_(pc.greater(known, pa.scalar(since)), pc.less_equal(known, pa.scalar(until))))


def rows_to_push(
    data: Layout, usecase: UseCase, since: datetime, until: datetime
) -> Iterator[tuple[FeatureTable, pa.Table]]:
    """For each feature table what became known in (since, until], from validated tables.

    Rows are built by the function that fills in past days. A table without days comes whole whenever a day begins.
    """
    window = days_between(since, until, usecase.timezone)
    day_begins = since < midnight(window.days[-1], window.timezone) <= until
    for feature_table in usecase.feature_tables:
        if not feature_table.daily and not day_begins:
            continue
        names = set(feature_table.sources)
        reach = window.widened(feature_table.lookback_days, earliest_day(data, usecase, names, window))
        rows = usecase.build(feature_table, read_tables(data, usecase, names, reach), window)
        yield feature_table, known_between(rows, since, until) if feature_table.daily else rows


class OnlineStore:
    """The online store of a project, while rows are pushed to it."""

    def __init__(self, store: FeatureStore) -> None:
        self.provider, self.views = store._get_provider(), {view.name: view for view in store.list_feature_views()}
        open_rows(store)  # SQLite is tuned with it

    def push(self, feature_table: str, keys: tuple[str, ...], rows: pd.DataFrame) -> int:
        """Write the newest of these rows of each entity; gives how many those are.

        The rows must be known later than what is there: Feast replaces whatever it finds.
        """
        newest = rows.sort_values(KNOWN_AT, kind="stable").drop_duplicates(list(keys), keep="last")
        if len(newest):
            # Feast's write_to_online_store leaves out a frame of missing values only, and what was there would stay.
            self.provider.ingest_df(self.views[feature_table], newest)
        return len(newest)
