"""The state of an airport and of a carrier in the last hours, on a grid of minutes.

One function builds them for a window of days (backfill) and for the current day (pushes): a row depends only on what
was known at its instant, so it is the same in both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipelines.usecase import Tables
from pipelines.usecases.flights.departures import query
from pipelines.usecases.flights.trailing import (
    Entities,
    Mask,
    Slots,
    Values,
    Whole,
    feature_rows,
    running_sums,
    trailing,
)
from pipelines.windows import Window

MINUTES = 15  # of a slot
HOURS = (1, 2, 4)  # the trailing windows
LATE = 15  # minutes, for a departure, a waiting flight and an arrival
LONGEST_WAIT = 240  # minutes after which a flight no longer counts as waiting

# Flights of two days before the window too: a flight may leave a day late and count for hours more.
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
    """What is counted in which trailing windows.

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
