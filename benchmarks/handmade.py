"""The flights' trailing features, handmade view by view, as they were before they were declared.

The counterpart in two benchmarks: the cost of declared features (`declared_features`), and, by its names of columns and
windows, the range self-join (`streaming_windows`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.instants import SECOND, micros, midnight
from pipelines.instants.arrow import INSTANT
from pipelines.usecase import KNOWN_AT, Tables
from pipelines.usecases.flights.departures import query
from pipelines.windows import Window

WEEK, MONTH = 7, 28  # days
Whole = NDArray[np.int64]
Mask = NDArray[np.bool_]
Values = Whole | tuple[Whole, Whole]  # counts, or the numerator and denominator of a ratio


@dataclass(frozen=True)
class Slots:
    """The slots of a window, preceded by as many slots as the longest trailing window has.

    Attributes:
        known_at: (slots,) the ends of the slots, in microseconds since 1970, increasing.
        before: the number of slots before the window.
    """

    known_at: Whole
    before: int

    @classmethod
    def of_days(cls, window: Window, longest: int) -> Slots:
        """One slot for each local day, which ends when that day begins; `longest` in days."""
        days = [window.start + timedelta(n) for n in range(-longest, (window.end - window.start).days)]
        return cls(np.array([_instant(day, window.timezone) for day in days], dtype=np.int64), longest)

    @classmethod
    def of_minutes(cls, window: Window, minutes: int, longest: int) -> Slots:
        """One slot every `minutes`, of which a local day holds a whole number; `longest` in slots."""
        step, start, end = minutes * 60 * SECOND, *(_instant(d, window.timezone) for d in (window.start, window.end))
        return cls(np.arange(start - longest * step, end, step, dtype=np.int64), longest)

    def __len__(self) -> int:
        return len(self.known_at)

    def of(self, instants: pa.ChunkedArray) -> Whole:
        """The first slot that ends at or after each instant (no nulls).

        It is the first slot, which lies before the window, for instants before all slots, and the number of slots for
        instants after them.
        """
        return np.searchsorted(self.known_at, _microseconds(instants), side="left").astype(np.int64)

    def after(self, instants: pa.ChunkedArray) -> Whole:
        """The first slot that ends after each instant, otherwise as `of`."""
        return np.searchsorted(self.known_at, _microseconds(instants), side="right").astype(np.int64)


def _instant(day: date, timezone: str) -> int:
    return micros(midnight(day, timezone))


def _microseconds(instants: pa.ChunkedArray) -> Whole:
    return np.asarray(instants.cast(INSTANT).cast(pa.int64()), dtype=np.int64)


@dataclass(frozen=True)
class Entities:
    """The distinct keys of a table, none of them null.

    Attributes:
        keys: one row for each entity, in order.
        codes: (rows of the table,) the entity of each row.
    """

    keys: pa.Table
    codes: Whole

    @classmethod
    def of(cls, table: pa.Table, names: Sequence[str]) -> Entities:
        rows = table.select(list(names)).to_pandas()
        codes = rows.groupby(list(names), sort=True).ngroup().to_numpy(np.int64)
        keys = rows.drop_duplicates().sort_values(list(names))
        return cls(pa.Table.from_pandas(keys, schema=table.select(list(names)).schema, preserve_index=False), codes)


def running_sums(codes: Whole, slots: Whole, values: Whole | None, shape: tuple[int, int]) -> Whole:
    """(entities, slots) sums of the events up to and including each slot; without values, their number."""
    inside = slots < shape[1]
    places, weights = codes[inside] * shape[1] + slots[inside], None if values is None else values[inside]
    sums = np.bincount(places, weights, minlength=shape[0] * shape[1])  # in float64: exact up to 2^53
    return np.cumsum(sums.reshape(shape).astype(np.int64), axis=1)


def trailing(running: Whole, span: int, before: int) -> Whole:
    """(entities, slots of the window) sums over the last `span` slots, of which there are at most `before`."""
    return running[:, before:] - running[:, before - span : running.shape[1] - span]


def ratio(total: Whole, count: Whole) -> pa.Array:
    """total / count as float32, null where count is 0."""
    return pa.array((total / np.maximum(count, 1)).astype(np.float32), mask=count == 0)


def feature_rows(entities: Entities, slots: Slots, present: Mask, features: Iterable[tuple[str, Values]]) -> pa.Table:
    """A row for every slot of the window and entity that is present in it, in that order.

    Args:
        present: (entities, slots of the window).
        features: names and values, each of (entities, slots of the window); consumed one by one, to bound memory.
    """
    slot, entity = np.nonzero(present.T)
    columns: dict[str, pa.Array | pa.ChunkedArray] = {
        **{name: entities.keys[name].take(pa.array(entity)) for name in entities.keys.column_names},
        KNOWN_AT: pa.array(slots.known_at[slots.before :][slot]).cast(INSTANT),
    }
    for name, values in features:
        if isinstance(values, tuple):
            columns[name] = ratio(values[0][entity, slot], values[1][entity, slot])
        else:
            columns[name] = pa.array(values[entity, slot].astype(np.float32))
    return pa.table(columns)


MINUTES = 15  # of a slot
HOURS = (1, 2, 4)  # the trailing windows
LATE = 15  # minutes, for a departure, a waiting flight and an arrival
LONGEST_WAIT = 240  # minutes after which a flight no longer counts as waiting

# Also flights of the two days before the window: a flight may leave a day late and count for hours more.
SCHEDULED = """
select {keys}, day_began_at, dep_delay, dep_at, arr_delay, arr_at,
    greatest(sched_dep_at + to_minutes($late), day_began_at) as awaited_from,
    sched_dep_at + to_minutes($given_up) as awaited_until
from departures where local_day >= $start::date - 2 and local_day < $end::date and {known}
"""
DEPARTED = ("dep_at", "dep_delay", "departures", "dep_delay", "late_share")
LANDED = ("arr_at", "arr_delay", "arrivals", "arr_delay", "late_arrivals")


@dataclass(frozen=True)
class Trailing:
    """The aggregates, and the lengths of their trailing windows.

    Attributes:
        departed: hours of the trailing windows of departures.
        landed: hours of the trailing windows of arrivals.
        awaited: whether to include the number of waiting flights.
        minutes: length of a slot.
    """

    departed: Sequence[int] = HOURS
    landed: Sequence[int] = ()
    awaited: bool = True
    minutes: int = MINUTES


STATE = Trailing()


def state(keys: Sequence[str], prefix: str, tables: Tables, window: Window, spec: Trailing = STATE) -> pa.Table:
    """By `keys`: departures in the last hours, their mean delay and late share, and the number of waiting flights.

    An entity has rows on the days with scheduled flights of it, and on the day after each.
    """
    minutes = spec.minutes
    parameters = {"start": window.start, "end": window.end, "late": LATE, "given_up": LONGEST_WAIT}
    condition = " and ".join(f"{key} is not null" for key in keys)
    flights = query(SCHEDULED.format(keys=", ".join(keys), known=condition), tables, parameters)
    entities = Entities.of(flights, keys)
    slots = Slots.of_minutes(window, minutes, max(*spec.departed, *spec.landed, 0) * 60 // minutes)
    shape = (len(entities.keys), len(slots))

    def features() -> Iterator[tuple[str, Values]]:
        for hours_, (at, delay, count_, mean_, share_) in ((spec.departed, DEPARTED), (spec.landed, LANDED)):
            happened = flights[at].is_valid()
            codes, slot = entities.codes[np.asarray(happened)], slots.of(flights[at].filter(happened))
            by = np.asarray(flights[delay].filter(happened), dtype=np.int64)
            sums = [running_sums(codes, slot, values, shape) for values in (None, by, (by >= LATE).astype(np.int64))]
            for hours in hours_:
                count, total, late = (trailing(running, hours * 60 // minutes, slots.before) for running in sums)
                yield f"{prefix}_{count_}_{hours}h", count
                yield f"{prefix}_{mean_}_{hours}h", (total, count)
                yield f"{prefix}_{share_}_{hours}h", (late, count)
        if spec.awaited:
            yield f"{prefix}_waiting", waiting(flights, entities, slots)

    return feature_rows(entities, slots, has_flights(flights, entities, slots, window), features())


def waiting(flights: pa.Table, entities: Entities, slots: Slots) -> Whole:
    """(entities, slots of the window) flights that are due and have not left, for at most LONGEST_WAIT minutes."""
    shape = (len(entities.keys), len(slots))
    since, until = slots.of(flights["awaited_from"]), slots.after(flights["awaited_until"])
    has_departed = np.asarray(flights["dep_at"].is_valid())
    until[has_departed] = np.minimum(until[has_departed], slots.of(flights["dep_at"].drop_null()))
    waits = since < until
    starts, stops = (running_sums(entities.codes[waits], ends[waits], None, shape) for ends in (since, until))
    return (starts - stops)[:, slots.before :]


def has_flights(flights: pa.Table, entities: Entities, slots: Slots, window: Window) -> Mask:
    """(entities, slots of the window) whether a flight is scheduled on the slot's local day or the day before."""
    days = Slots.of_days(window, 2)
    scheduled = np.zeros((len(entities.keys), len(days)), dtype=bool)
    scheduled[entities.codes, days.of(flights["day_began_at"])] = True
    today = np.searchsorted(days.known_at, slots.known_at[slots.before :], side="right") - 1
    return scheduled[:, today] | scheduled[:, today - 1]


LANDINGS = """
select {keys}, arr_at, arr_delay from departures
where arr_delay is not null and local_day >= $start::date - {reach} and local_day < $end::date and {known}
"""


def arrivals(keys: Sequence[str], prefix: str, tables: Tables, window: Window) -> pa.Table:
    """By `keys`, as each day begins: flights that landed in the 7 and 28 days before, their late share and mean delay.

    An entity has a row if it has such a flight in the 28 days.
    """
    condition = " and ".join(f"{key} is not null" for key in keys)
    sql = LANDINGS.format(keys=", ".join(keys), reach=MONTH + 3, known=condition)
    landed = query(sql, tables, {"start": window.start, "end": window.end})
    entities, slots = Entities.of(landed, keys), Slots.of_days(window, MONTH)
    at, delay = slots.after(landed["arr_at"]), np.asarray(landed["arr_delay"], dtype=np.int64)
    shape, events = (len(entities.keys), len(slots)), (None, delay, (delay >= LATE).astype(np.int64))
    sums = [running_sums(entities.codes, at, values, shape) for values in events]

    def features() -> Iterator[tuple[str, Values]]:
        for days in (WEEK, MONTH):
            count, total, late = (trailing(running, days, slots.before) for running in sums)
            yield f"{prefix}_flights_{days}d", count
            yield f"{prefix}_late_rate_{days}d", (late, count)
            yield f"{prefix}_arr_delay_{days}d", (total, count)

    return feature_rows(entities, slots, trailing(sums[0], MONTH, slots.before) > 0, features())


VIEWS: dict[str, Callable[[Tables, Window], pa.Table]] = {
    "carrier_stats": partial(arrivals, ("carrier",), "carrier"),
    "route_stats": partial(arrivals, ("origin", "dest"), "route"),
    "dest_stats": partial(arrivals, ("dest",), "dest"),
    "origin_state": partial(state, ("origin",), "origin"),
    "carrier_state": partial(state, ("carrier",), "carrier"),
    "origin_day": partial(
        state, ("origin",), "origin", spec=Trailing(departed=(12,), landed=(2, 4, 12), awaited=False)
    ),
    "carrier_day": partial(
        state, ("carrier",), "carrier", spec=Trailing(departed=(12,), landed=(4, 12), awaited=False)
    ),
    "hub_state": partial(state, ("origin", "carrier"), "hub", spec=Trailing(departed=(2, 4, 12))),
    "dest_state": partial(state, ("dest",), "dest", spec=Trailing((4, 12), (4,), awaited=False, minutes=30)),
}
