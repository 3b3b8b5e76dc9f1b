"""Feature tables, one function each. Sums are over whole minutes, so values do not depend on the order of summation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa

from pipelines.instants import sql_midnight
from pipelines.usecase import Tables
from pipelines.usecases.flights.columns import ZONE
from pipelines.usecases.flights.departures import query
from pipelines.usecases.flights.rotation import rotation
from pipelines.usecases.flights.streaming import Trailing, state
from pipelines.usecases.flights.trailing import Entities, Slots, Values, feature_rows, running_sums, trailing
from pipelines.windows import Window

LATE = 15  # minutes, of an arrival
WEEK, MONTH = 7, 28  # days

AIRCRAFT = f"""
select tailnum, {sql_midnight("date '2013-01-01'", ZONE)} as known_at,
    year::float as aircraft_year, seats::float as aircraft_seats, engines::float as aircraft_engines
from planes order by tailnum
"""

# An observation has the hour in which it was made; it is known by the end of that hour.
WEATHER = """
select origin, time_hour + interval 1 hour as known_at,
    temp::float as temp, dewp::float as dewp, humid::float as humid, wind_dir::float as wind_dir,
    wind_speed::float as wind_speed, wind_gust::float as wind_gust, precip::float as precip,
    pressure::float as pressure, visib::float as visib
from weather
where time_hour + interval 1 hour >= $from_at and time_hour + interval 1 hour < $to_at
order by known_at, origin
"""

# A day's schedule is known when the day begins, cancellations included. The hour is the local hour of departure.
CONGESTION = """
with scheduled as (
    select origin, carrier, day_began_at as known_at, strftime(sched_dep_at, '%H') as sched_hour, count(*) as n
    from departures
    where local_day >= $start and local_day < $end and carrier is not null
    group by all
),
hours as (select origin, known_at, sched_hour, sum(n) as n from scheduled group by all),
days as (select origin, known_at, sum(n) as n from scheduled group by all)
select scheduled.origin, scheduled.carrier, scheduled.sched_hour, scheduled.known_at,
    hours.n::float as hour_departures, coalesce(before.n, 0)::float as previous_hour_departures,
    coalesce(next.n, 0)::float as next_hour_departures, days.n::float as day_departures,
    scheduled.n::float as carrier_hour_departures, (scheduled.n / hours.n)::float as carrier_hour_share
from scheduled
join hours using (origin, known_at, sched_hour)
join days using (origin, known_at)
left join hours before on before.origin = scheduled.origin and before.known_at = scheduled.known_at
    and before.sched_hour::int = scheduled.sched_hour::int - 1
left join hours next on next.origin = scheduled.origin and next.known_at = scheduled.known_at
    and next.sched_hour::int = scheduled.sched_hour::int + 1
order by scheduled.known_at, scheduled.origin, scheduled.carrier, scheduled.sched_hour
"""

LANDED = """
select {keys}, arr_at, arr_delay from departures
where arr_delay is not null and local_day >= $start::date - {reach} and local_day < $end::date and {known}
"""


def build(sql: str, tables: Tables, window: Window) -> pa.Table:
    """Run one query, with the window as $start, $end (days) and $from_at, $to_at (instants)."""
    parameters = {"start": window.start, "end": window.end, "from_at": window.start_at, "to_at": window.end_at}
    return query(sql, tables, parameters)


def arrivals(keys: Sequence[str], prefix: str, tables: Tables, window: Window) -> pa.Table:
    """By `keys`, as each day begins: flights that landed in the 7 and 28 days before, their late share and mean delay.

    An entity has a row if it has such a flight in the 28 days.
    """
    condition = " and ".join(f"{key} is not null" for key in keys)
    sql = LANDED.format(keys=", ".join(keys), reach=MONTH + 3, known=condition)
    landed = build(sql, tables, window)
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


BUILDERS: dict[str, Callable[[Tables, Window], pa.Table]] = {
    "aircraft_profile": partial(build, AIRCRAFT),
    "carrier_stats": partial(arrivals, ("carrier",), "carrier"),
    "route_stats": partial(arrivals, ("origin", "dest"), "route"),
    "dest_stats": partial(arrivals, ("dest",), "dest"),
    "weather_observed": partial(build, WEATHER),
    "congestion": partial(build, CONGESTION),
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
    "aircraft_rotation": rotation,
}
