"""The layout of a use case's data in the store."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa

from pipelines.errors import InvalidInput, MissingData
from pipelines.periods import A_DAY, NAME, Period, name_of, parse_name
from pipelines.store.files import Store
from pipelines.windows import Window

REFERENCE = "all"  # the single partition of a table without periods
UNDATED = "undated"  # in quarantine: the partition for rows of a table with periods that lie in none
SUFFIX = ".parquet"


@dataclass(frozen=True)
class Layout:
    """Paths and partitions of one use case: ZONE/TABLE/PERIOD.parquet in raw, validated, quarantine and features.

    Attributes:
        length: of a period.
    """

    store: Store
    usecase: str
    length: timedelta = A_DAY

    def uri(self, *parts: str) -> str:
        return self.store.uri(self.usecase, *parts)

    def partition(self, zone: str, table: str, period: Period | str | None) -> str:
        """The file of a period, of UNDATED, or (None) of a reference table."""
        return self.uri(zone, table, f"{partition_name(period)}{SUFFIX}")

    def periods(self, zone: str, table: str) -> list[Period]:
        """Periods that have a partition, in order.

        Raises:
            InvalidInput: if one is of another length: no use case may change its own.
        """
        names = self.store.names(self.uri(zone, table))
        periods = periods_of(name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX))
        for period in periods:
            if isinstance(period, datetime) == (self.length == A_DAY):
                raise InvalidInput(
                    f"{self.partition(zone, table, period)} is no partition of {self.length}, the period of "
                    f"{self.usecase}; give the use case another name or home, or remove what it has built so far"
                )
        return periods

    def read(self, zone: str, table: str, window: Window) -> pa.Table:
        """The rows of a window; errors as `require`."""
        periods = self.require(zone, table, window)
        return self.store.read_tables(self.partition(zone, table, one) for one in periods)

    def require(self, zone: str, table: str, window: Window) -> list[Period]:
        """The periods of a window.

        Raises:
            MissingData: if one of them has no partition, naming the first.
        """
        have, periods = set(self.periods(zone, table)), window.periods
        lacking = [one for one in periods if one not in have]
        if lacking:
            raise MissingData(
                f"{zone}/{table} lacks {len(lacking)} of the {window.calendar.noun}s {window} (first: {lacking[0]}); "
                "ingest, then validate"
            )
        return periods

    def first_gap(self, periods: Sequence[Period]) -> Period | None:
        """The first period that is missing between some that are given in order."""
        return next((a + self.length for a, b in itertools.pairwise(periods) if b - a > self.length), None)

    def read_reference(self, zone: str, table: str) -> pa.Table:
        return self.store.read_table(self.partition(zone, table, None))


def partition_name(period: Period | str | None) -> str:
    """The name of a partition: of its period, UNDATED, or REFERENCE for None."""
    return REFERENCE if period is None else period if isinstance(period, str) else name_of(period)


def periods_of(names: Iterable[str]) -> list[Period]:
    """The periods among the names of partitions, in their order."""
    return [parse_name(name) for name in names if NAME.fullmatch(name)]
