"""Feature tables that SQL of our own builds: what a declaration cannot say. Light to import."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.usecases.flights.departures import query

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.usecase import Tables
    from pipelines.windows import Window

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


def congestion(tables: Tables, window: Window) -> pa.Table:
    """By airport, carrier and hour, as each day begins: scheduled departures of the hour, its neighbours, the day."""
    return query(CONGESTION, tables, {"start": window.start, "end": window.end})
