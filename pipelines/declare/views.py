"""Declared feature tables: their common base, and those that one query builds. Light to import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, NamedTuple

from pipelines.declare.events import Events, Rows, name_of, sources_of
from pipelines.errors import InvalidInput
from pipelines.periods import A_DAY
from pipelines.usecase import FeatureTable

NEVER = timedelta(0)  # a ttl: rows do not expire
Type = Literal["number", "instant"]


class Feature(NamedTuple):
    """A column of a view.

    Attributes:
        low, high: bounds that always hold; None where there is none.
    """

    name: str
    type: Type
    means: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Declared(FeatureTable):
    """A feature table that is declared rather than built by code of the use case.

    Attributes:
        ttl: the age after which a row counts no more; 0 for never.
    """

    ttl: timedelta = NEVER

    @property
    def rests_on_earlier_days(self) -> bool:
        """Whether rows are known as a day begins, from earlier days only: they are built and online as it begins."""
        return False

    @property
    def features(self) -> tuple[Feature, ...]:
        raise NotImplementedError

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the features, in order."""
        return tuple(feature.name for feature in self.features)


NOTHING = Events("", "")


@dataclass(frozen=True)
class Observed(Declared):
    """Unaggregated observations, each known a delay after its instant; the latest known one counts."""

    events: Events = NOTHING
    columns: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def rows(self) -> Rows:
        return self.events.rows

    @property
    def features(self) -> tuple[Feature, ...]:
        return tuple(Feature(name, "number", f"{sql}, as last known") for name, sql in self.columns.items())


def rests_on_earlier_days(table: FeatureTable) -> bool:
    """Whether a feature table is declared and `rests_on_earlier_days`."""
    return isinstance(table, Declared) and table.rests_on_earlier_days


def latest(
    name: str, keys: tuple[str, ...], events: Events, columns: Mapping[str, str], ttl: timedelta = NEVER
) -> Observed:
    """A view of the latest observation: features by name, each an SQL expression of the row."""
    days = events.known_within // A_DAY
    return Observed(name, keys, sources_of(events.rows), days, ttl=ttl, events=events, columns=dict(columns))


@dataclass(frozen=True)
class Profile(Declared):
    """Facts about an entity that are always known: columns of a reference table."""

    rows: Rows = ""
    columns: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def features(self) -> tuple[Feature, ...]:
        return tuple(Feature(name, "number", sql) for name, sql in self.columns.items())


def profile(name: str, keys: tuple[str, ...], rows: Rows, columns: Mapping[str, str]) -> Profile:
    """A view of a reference table, known from the use case's first day: features by name, each an SQL expression."""
    return Profile(name, keys, sources_of(rows), daily=False, rows=rows, columns=dict(columns))


@dataclass(frozen=True)
class Schedule(Declared):
    """The schedule of a local day, known as it begins: numbers of its rows by some of the view's keys."""

    rows: Rows = ""
    where: str | None = None
    counts: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)

    @property
    def features(self) -> tuple[Feature, ...]:
        return tuple(
            Feature(name, "number", f"rows of {name_of(self.rows)} of the day by {', '.join(by)}", 0)
            for name, by in self.counts.items()
        )


def schedule(
    name: str,
    keys: tuple[str, ...],
    rows: Rows,
    counts: Mapping[str, tuple[str, ...]],
    where: str | None = None,
    ttl: timedelta = A_DAY,
) -> Schedule:
    """A view of numbers of scheduled rows: each feature counts by some of the keys, which are columns of the rows."""
    for feature, by in counts.items():
        if other := set(by) - set(keys):
            raise InvalidInput(f"view {name}: {feature} counts by {sorted(other)}, which are none of its keys {keys}")
    return Schedule(name, keys, sources_of(rows), ttl=ttl, rows=rows, where=where, counts=dict(counts))


@dataclass(frozen=True)
class Coded(Declared):
    """A feature table that code of the use case builds, but whose features are declared.

    Attributes:
        builder: `module:function`, of `function(tables, window)`, which gives what `UseCase.build` promises.
        columns: by name what each feature means.
        reads: the columns of its sources that the function is given, besides keys and periods; all by default.
    """

    builder: str = ""
    columns: Mapping[str, str] = field(default_factory=dict, hash=False)
    reads: tuple[str, ...] = field(default=(), repr=False)  # the recorded digest of a view without it is unchanged

    @property
    def features(self) -> tuple[Feature, ...]:
        return tuple(Feature(name, "number", means) for name, means in self.columns.items())
