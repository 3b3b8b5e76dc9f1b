"""The layout of a use case's data in the store."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

import pyarrow as pa

from pipelines.errors import MissingData
from pipelines.store.files import Store

REFERENCE = "all"  # the single partition of a table without days
UNDATED = "undated"  # in quarantine: the partition for rows of a daily table without a day
DAY = re.compile(r"(\d{4}-\d{2}-\d{2})\.parquet")


@dataclass(frozen=True)
class Layout:
    """Paths and partitions of one use case: ZONE/TABLE/DAY.parquet, with zones raw, validated, quarantine, features."""

    store: Store
    usecase: str

    def uri(self, *parts: str) -> str:
        return self.store.uri(self.usecase, *parts)

    def partition(self, zone: str, table: str, day: date | str | None) -> str:
        """The file of a day, of UNDATED, or (None) of a reference table."""
        return self.uri(zone, table, f"{REFERENCE if day is None else day}.parquet")

    def days(self, zone: str, table: str) -> list[date]:
        """Days that have a partition, in order."""
        names = self.store.names(self.uri(zone, table))
        return [date.fromisoformat(match[1]) for name in names if (match := DAY.fullmatch(name))]

    def read(self, zone: str, table: str, start: date, end: date) -> pa.Table:
        """The rows of the days from `start` up to `end`; errors as `require_days`."""
        days = self.require_days(zone, table, start, end)
        return self.store.read_tables(self.partition(zone, table, day) for day in days)

    def require_days(self, zone: str, table: str, start: date, end: date) -> list[date]:
        """The days from `start` up to `end`.

        Raises:
            MissingData: if a day between them has no partition, naming the first.
        """
        have = self.days(zone, table)
        days = [day for day in have if start <= day < end]
        missing = (end - start).days - len(days)
        if missing:
            first = next(
                d for n in range((end - start).days) if (d := date.fromordinal(start.toordinal() + n)) not in days
            )
            raise MissingData(
                f"{zone}/{table} lacks {missing} of the days {start} to {end} (first: {first}); ingest, then validate"
            )
        return days

    def read_reference(self, zone: str, table: str) -> pa.Table:
        return self.store.read_table(self.partition(zone, table, None))
