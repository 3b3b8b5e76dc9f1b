"""Views of trailing measures: what happened to an entity in the time before, at any instant. Light to import."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from pipelines.declare.events import CLOCK_CHANGE, Events, Measure, Rows, name_of, sources_of
from pipelines.declare.views import NEVER, Declared, Feature
from pipelines.errors import InvalidInput
from pipelines.periods import A_DAY, A_MINUTE

A_HOUR = timedelta(hours=1)
Window = timedelta | int  # a length of time, or a number of last events


@dataclass(frozen=True)
class Over:
    """Measures of events over trailing windows.

    Attributes:
        measures: by the middle part of the features' names.
        windows: lengths of time, or numbers of last events; their names end the features' names. Without any, measures
            are over `within` and their names have no such end.
        within: how far back events count where no window says it: for numbers of events, and without windows.
    """

    events: Events
    measures: Mapping[str, Measure] = field(hash=False)
    windows: tuple[Window, ...] = ()
    within: timedelta | None = None

    def __post_init__(self) -> None:
        what = f"Over({', '.join(self.measures)})"
        if not isinstance(self.windows, tuple):
            raise InvalidInput(f"{what}: windows is {self.windows!r}; give a tuple such as (14 * DAY,)")
        lengths = [one if isinstance(one, timedelta) else timedelta(one) for one in self.windows]
        if any(one <= timedelta(0) for one in (*lengths, *([self.within] if self.within is not None else []))):
            raise InvalidInput(f"{what}: windows {self.windows} within {self.within}: one of them holds nothing")
        if self.within is None and not (self.windows and all(isinstance(one, timedelta) for one in self.windows)):
            raise InvalidInput(
                f"{what}: windows of a number of events, or none at all, need `within`, how far back events count; "
                "give it, or lengths of time such as (14 * DAY,)"
            )

    @property
    def longest(self) -> timedelta:
        return max(
            [*(one for one in self.windows if isinstance(one, timedelta)), *([self.within] if self.within else [])]
        )

    def cells(self) -> Iterator[tuple[str, Window | None, Measure]]:
        """(name without the view's prefix, window, measure), window by window."""
        for window in self.windows or (None,):
            for name, measure in self.measures.items():
                yield (name if window is None else f"{name}_{window_name(window)}"), window, measure


@dataclass(frozen=True)
class Level:
    """The number of open rows: each is open from one instant until another (exclusive).

    Attributes:
        since, until: SQL of instants; a null in `until` is no end.
        longest: how long after the beginning of its local day a row counts, however long it is under way: so far back
            the days of it are read.
    """

    name: str
    rows: Rows
    since: str
    until: str
    longest: timedelta


@dataclass(frozen=True)
class Active:
    """Rows at every instant of the grid on a local day with an event of the entity and on later ones, `days` in all."""

    events: Events
    days: int = 1


Part = Over | Level


def trailing(
    name: str,
    keys: tuple[str, ...],
    *parts: Part,
    every: timedelta | None = A_DAY,
    ttl: timedelta | None = None,
    prefix: str = "",
    rows: Active | Literal["changes", "window"] = "changes",
) -> Trailing:
    """A view of trailing measures by `keys`.

    Args:
        every: the grid of instants at which rows are known: whole local days (events before the day begins count), a
            part of an hour (events up to the instant count), or None: at the very instants of change.
        ttl: never by default, or two steps of the grid where there are rows at every instant of it.
        prefix: begins the names of all features.
        rows: of an entity: at the instants where something changes; while its longest window has events; or while it
            is `Active`.
    """
    if ttl is None:
        ttl = NEVER if rows == "changes" or every is None else 2 * every
    return Trailing(
        name,
        keys,
        _sources(parts, rows),
        _lookback(parts, every, rows),
        ttl=ttl,
        every=every,
        prefix=prefix,
        parts=parts,
        rows=rows,
    )


@dataclass(frozen=True)
class Trailing(Declared):
    """See `trailing`, which creates it."""

    every: timedelta | None = A_DAY
    prefix: str = ""
    parts: tuple[Part, ...] = ()
    rows: Active | Literal["changes", "window"] = "changes"

    def __post_init__(self) -> None:
        if self.every is not None and self.every != A_DAY and (self.every <= timedelta(0) or A_HOUR % self.every):
            raise InvalidInput(f"view {self.name}: a grid of {self.every} is neither a day nor a part of an hour")
        if self.rows == "window" and any(isinstance(part, Level) for part in self.parts):
            raise InvalidInput(f"view {self.name}: a Level has no window that ends; say rows Active(...), or changes")
        if self.every is None and self.rows != "changes":
            raise InvalidInput(f"view {self.name}: rows at every instant need a grid; say `every`")
        for part in self.parts:
            if isinstance(part, Level):
                continue
            for name, window, measure in part.cells():
                span = window if isinstance(window, timedelta) else part.within or A_DAY
                if self.every and span % self.every:
                    raise InvalidInput(
                        f"view {self.name}: {name}: {span} is no multiple of the grid of {self.every}; choose one"
                    )
                if measure.kind == "since_last" and self.rows == "changes":
                    raise InvalidInput(
                        f"view {self.name}: {name} changes all the time; declare last_at() and the Difference of the "
                        "prediction's instant and it, or rows at every instant of a grid"
                    )
        if not self.keys:
            raise InvalidInput(f"view {self.name} has no key; declare the entity that its rows belong to")
        if len(set(self.names)) < len(self.names):
            raise InvalidInput(
                f"view {self.name}: two features have one name; name the measures otherwise: {self.names}"
            )

    @property
    def rests_on_earlier_days(self) -> bool:
        return self.every == A_DAY

    @property
    def features(self) -> tuple[Feature, ...]:
        return tuple(self._features())

    def _features(self) -> Iterator[Feature]:
        begin = f"{self.prefix}_" if self.prefix else ""
        for part in self.parts:
            if isinstance(part, Level):
                yield Feature(begin + part.name, "number", f"rows of {name_of(part.rows)} under way", 0)
                continue
            for name, window, measure in part.cells():
                yield _feature(begin + name, measure, window or part.longest, part.events)

    @property
    def by_measure(self) -> tuple[str, ...]:
        """The names with the windows of each measure side by side."""
        begin = f"{self.prefix}_" if self.prefix else ""
        names: list[str] = []
        for part in self.parts:
            if isinstance(part, Level):
                names.append(begin + part.name)
            else:
                cells = [*part.cells()]
                names += [
                    begin + cells[n][0]
                    for m in range(len(part.measures))
                    for n in range(m, len(cells), len(part.measures))
                ]
        return tuple(names)


def window_name(window: Window) -> str:
    """7d, 12h, 15m, or 5n for the last five events."""
    if not isinstance(window, timedelta):
        return f"{window}n"
    for unit, letter in ((A_DAY, "d"), (A_HOUR, "h"), (A_MINUTE, "m")):
        if window and not window % unit:
            return f"{window // unit}{letter}"
    raise InvalidInput(f"a window of {window} is no whole number of minutes")


def _feature(name: str, measure: Measure, window: Window, events: Events) -> Feature:
    over = f"of {name_of(events.rows)} by {events.at}, {'last' if isinstance(window, timedelta) else 'of the last'} "
    over += window_name(window) if isinstance(window, timedelta) else f"{window} events"
    what = f"{measure.kind} {measure.of or ''}".strip()
    low = 0.0 if measure.kind in ("count", "share", "distinct", "std", "since_last") else None
    high = 1.0 if measure.kind == "share" else None
    return Feature(name, "instant" if measure.kind == "last_at" else "number", f"{what} {over}", low, high)


def _sources(parts: tuple[Part, ...], rows: Active | str) -> tuple[str, ...]:
    every = [part.rows if isinstance(part, Level) else part.events.rows for part in parts]
    every += [rows.events.rows] if isinstance(rows, Active) else []
    return tuple(dict.fromkeys(name for one in every for name in sources_of(one)))


def _lookback(parts: tuple[Part, ...], every: timedelta | None, rows: Active | str) -> int:
    """Days before a row's own whose events may affect it."""
    reach = [timedelta(0)]
    for part in parts:
        over = part.longest if isinstance(part, Level) else part.events.known_within + part.longest
        reach.append(over + (every or timedelta(0)) + CLOCK_CHANGE)
    if isinstance(rows, Active):
        reach.append(rows.events.known_within + (rows.days - 1) * A_DAY + CLOCK_CHANGE)
    return max(reach) // A_DAY
