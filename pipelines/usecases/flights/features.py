"""Feature tables, one query each. Sums are over whole minutes, so no order of summation can change a value."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pyarrow as pa

from pipelines.usecase import Tables
from pipelines.usecases.flights.departures import query
from pipelines.windows import Window

AIRCRAFT = """
select tailnum, timezone('America/New_York', timestamp '2013-01-01') as known_at,
    year::float as aircraft_year, seats::float as aircraft_seats, engines::float as aircraft_engines
from planes order by tailnum
"""

# Daily sums by the day of landing, then trailing frames over days: a row at midnight rests on flights landed before it.
STATS = """
with landed as (
    select {keys}, arr_at::date as day, count(*) as n, sum((arr_delay >= 15)::int) as late, sum(arr_delay) as delay
    from departures where arr_delay is not null group by all
),
days as (select unnest(generate_series($start::date, ($end::date - 1)::date, interval 1 day))::date as day),
summed as (
    select {keys}, days.day,
        sum(n) filter (landed.day >= days.day - 7) as n7, sum(late) filter (landed.day >= days.day - 7) as late7,
        sum(delay) filter (landed.day >= days.day - 7) as delay7,
        sum(n) as n28, sum(late) as late28, sum(delay) as delay28
    from days join landed on landed.day >= days.day - 28 and landed.day < days.day
    group by all
)
select {keys}, day::timestamp::timestamptz as known_at, {columns}
from summed order by known_at, {keys}
"""
CARRIER = """
    coalesce(n7, 0)::float as carrier_flights_7d, (late7 / n7)::float as carrier_late_rate_7d,
    (late28 / n28)::float as carrier_late_rate_28d, (delay7 / n7)::float as carrier_arr_delay_7d
"""
ROUTE = """
    n28::float as route_flights_28d, (late7 / n7)::float as route_late_rate_7d,
    (late28 / n28)::float as route_late_rate_28d, (delay28 / n28)::float as route_arr_delay_28d
"""

# An observation is labelled by the hour in which it was made; it is surely known when that hour is over.
WEATHER = """
select origin, time_hour + interval 1 hour as known_at,
    temp::float as temp, dewp::float as dewp, humid::float as humid, wind_dir::float as wind_dir,
    wind_speed::float as wind_speed, wind_gust::float as wind_gust, precip::float as precip,
    pressure::float as pressure, visib::float as visib
from weather
where time_hour + interval 1 hour >= $from_at and time_hour + interval 1 hour < $to_at
order by known_at, origin
"""

# State of an airport on a grid of 15 minutes. Trailing windows are differences of running sums, found by as-of joins;
# flights still waiting are counted by laying each delay on the grid.
ORIGIN_STATE = """
with origins as (select distinct origin from departures),
grid as (
    select origin, unnest(generate_series($from_at, $to_at - interval 15 minutes, interval 15 minutes)) as grid_at
    from origins
),
left_at as (
    select origin, dep_at, sum(count(*)) over w as n, sum(sum(dep_delay)) over w as delay,
        sum(sum((dep_delay >= 15)::int)) over w as late
    from departures where dep_delay is not null
    group by origin, dep_at window w as (partition by origin order by dep_at)
),
waiting as (
    select origin, grid_at, count(*) as n from (
        select origin, unnest(generate_series(
            to_timestamp(ceil(epoch(greatest(sched_dep_at + interval 15 minutes, day_began_at)) / 900) * 900),
            least(dep_at - interval 1 second, sched_dep_at + interval 4 hours), -- least() passes over nulls
            interval 15 minutes
        )) as grid_at
        from departures
    ) group by all
),
sums as (
    select grid.origin, grid.grid_at,
        coalesce(h0.n, 0) as n0, coalesce(h0.delay, 0) as d0, coalesce(h0.late, 0) as l0,
        coalesce(h1.n, 0) as n1, coalesce(h1.delay, 0) as d1,
        coalesce(h2.n, 0) as n2, coalesce(h2.delay, 0) as d2, coalesce(h2.late, 0) as l2,
        coalesce(h4.n, 0) as n4, coalesce(h4.delay, 0) as d4
    from grid
    asof left join left_at h0 on h0.origin = grid.origin and h0.dep_at <= grid.grid_at
    asof left join left_at h1 on h1.origin = grid.origin and h1.dep_at <= grid.grid_at - interval 1 hour
    asof left join left_at h2 on h2.origin = grid.origin and h2.dep_at <= grid.grid_at - interval 2 hours
    asof left join left_at h4 on h4.origin = grid.origin and h4.dep_at <= grid.grid_at - interval 4 hours
)
select sums.origin, sums.grid_at as known_at, (n0 - n2)::float as origin_departures_2h,
    ((d0 - d1) / nullif(n0 - n1, 0))::float as origin_dep_delay_1h,
    ((d0 - d2) / nullif(n0 - n2, 0))::float as origin_dep_delay_2h,
    ((d0 - d4) / nullif(n0 - n4, 0))::float as origin_dep_delay_4h,
    ((l0 - l2) / nullif(n0 - n2, 0))::float as origin_late_share_2h,
    coalesce(waiting.n, 0)::float as origin_waiting
from sums left join waiting on waiting.origin = sums.origin and waiting.grid_at = sums.grid_at
order by known_at, sums.origin
"""


def build(sql: str, tables: Tables, window: Window) -> pa.Table:
    """Run one query, with the window as $start, $end (days) and $from_at, $to_at (instants)."""
    known = {"start": window.start, "end": window.end, "from_at": window.start_at, "to_at": window.end_at}
    return query(sql, tables, known)


BUILDERS: dict[str, Callable[[Tables, Window], pa.Table]] = {
    "aircraft_profile": partial(build, AIRCRAFT),
    "carrier_stats": partial(build, STATS.format(keys="carrier", columns=CARRIER)),
    "route_stats": partial(build, STATS.format(keys="origin, dest", columns=ROUTE)),
    "weather_observed": partial(build, WEATHER),
    "origin_state": partial(build, ORIGIN_STATE),
}
