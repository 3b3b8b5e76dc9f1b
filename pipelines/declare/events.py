"""The parts of declared features: rows prepared by SQL, events in them, and measures of events. Light to import."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from pipelines.errors import InvalidInput
from pipelines.periods import A_DAY

Kind = Literal[
    "count", "sum", "mean", "share", "min", "max", "std", "distinct", "last", "last_at", "since_last"
]  # fmt: skip


@dataclass(frozen=True)
class Prepared:
    """Rows that one query derives from raw tables, for declared features to read like a raw table.

    Each depends only on raw rows of its own period, besides reference tables: else it would depend on the days that are
    read with it.

    Attributes:
        sql: a query in DuckDB's SQL, run in the use case's zone. It keeps the partition column (`local_day`, or
            `period`), so that the engine knows to which period each row belongs.
        sources: the raw tables that it reads.
    """

    name: str
    sql: str
    sources: tuple[str, ...]


CLOCK_CHANGE = timedelta(hours=1)  # the most by which a local day is longer or shorter than 24 hours

Rows = str | Prepared  # the name of a raw table, or rows prepared from several


def name_of(rows: Rows) -> str:
    """The name of rows, in SQL and to people."""
    return rows if isinstance(rows, str) else rows.name


def sources_of(rows: Rows) -> tuple[str, ...]:
    """The raw tables behind rows."""
    return (rows,) if isinstance(rows, str) else rows.sources


@dataclass(frozen=True)
class Events:
    """Rows, each of which counts from the instant at which it is known.

    A row belongs to a period, before which nothing of it is known: an earlier instant counts as the period's beginning.

    Attributes:
        at: SQL of the instant at which the event happens; null where it does not.
        delay: from then until it is known.
        where: SQL of the rows that are events; all by default.
        late: how long after the beginning of its local day an event is known at the latest, `delay` included; by
            default the longest day there is and the delay. One that is known later stops the build, since days that
            are cut otherwise would not have it.
    """

    rows: Rows
    at: str
    delay: timedelta = timedelta(0)
    where: str | None = None
    late: timedelta | None = None

    def __post_init__(self) -> None:
        if self.delay < timedelta(0):
            raise InvalidInput(f"Events by {self.at}: the delay is {self.delay}; nothing is known before it happens")

    @property
    def known_within(self) -> timedelta:
        return A_DAY + CLOCK_CHANGE + self.delay if self.late is None else self.late


@dataclass(frozen=True)
class Measure:
    """A figure of the events in a trailing window; events whose `of` is null do not count in it.

    Sums of whole numbers and decimals are exact: floats are declared decimal, or added in the order of their instants.

    Attributes:
        of: SQL of the value of an event.
        decimals: digits after the point to which a float is rounded, so that its sums are exact.
        back: for `last`, how many events before the last one.
        unit: for `since_last`.
    """

    kind: Kind
    of: str | None = None
    decimals: int | None = None
    back: int = 0
    unit: timedelta = A_DAY

    def __post_init__(self) -> None:
        if self.back < 0 or (self.decimals or 0) < 0 or self.unit <= timedelta(0):
            raise InvalidInput(
                f"{self.kind} of {self.of}: back is {self.back}, decimals {self.decimals}, unit {self.unit}; give none "
                "below 0, and a unit above it"
            )


def count() -> Measure:
    """The number of events; 0 where there is none."""
    return Measure("count")


def total(of: str, decimals: int | None = None) -> Measure:
    """The sum; 0 where there is no event."""
    return Measure("sum", of, decimals)


def mean(of: str, decimals: int | None = None) -> Measure:
    """The mean, null where there is no event, as are those below."""
    return Measure("mean", of, decimals)


def share(condition: str) -> Measure:
    """The share of events for which a condition holds."""
    return Measure("share", condition)


def least(of: str) -> Measure:
    return Measure("min", of)


def most(of: str) -> Measure:
    return Measure("max", of)


def deviation(of: str) -> Measure:
    """The standard deviation, of n - 1; null for fewer than two events."""
    return Measure("std", of)


def distinct(of: str) -> Measure:
    """The number of distinct values; 0 where there is no event."""
    return Measure("distinct", of)


def last(of: str, back: int = 0) -> Measure:
    """The value of the last event, or of the one `back` events before it: a lag."""
    return Measure("last", of, back=back)


def last_at() -> Measure:
    """The instant at which the last known event happened; with `Difference`, the time since then at any instant."""
    return Measure("last_at")


def since_last(unit: timedelta = A_DAY) -> Measure:
    """The time since the last event. It changes all the time, so it needs rows at every instant of a grid."""
    return Measure("since_last", unit=unit)
