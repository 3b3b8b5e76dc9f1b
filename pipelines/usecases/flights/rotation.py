"""Where each aircraft is: the delay of its last departure, and how soon it can be back for another.

Only departures from New York are on record. An aircraft that left is away for the flight there, a turn, the flight back
and another turn; so a flight that it is scheduled for before that will be late. On a grid of half an hour, from the
departure on until the aircraft has surely been back, or leaves again.
"""

from __future__ import annotations

import pyarrow as pa

from pipelines.usecase import Tables
from pipelines.usecases.flights.departures import query
from pipelines.windows import Window

MINUTES = 30  # of a slot
TURN = 45  # minutes on the ground, at either end
IDLE = 120  # minutes after which an aircraft that is back is of no more interest

# An arrival counts once it is known. Until then the aircraft lands as late as it left, and not before now.
ROTATIONS = """
with departed as (
    select tailnum, dep_at, dep_delay, arr_delay, arr_at, sched_arr_at,
        sched_arr_at - sched_dep_at as leg,
        lead(dep_at) over (partition by tailnum order by dep_at, sched_dep_at, flight) as next_dep_at
    from departures
    where tailnum is not null and dep_at is not null and local_day >= $start::date - 2 and local_day < $end::date
),
seen as (
    select *, unnest(generate_series(
        time_bucket(to_minutes($minutes), dep_at - interval 1 microsecond) + to_minutes($minutes),
        least(
            dep_at + 2 * leg + to_minutes(2 * $turn + $idle),
            next_dep_at - interval 1 microsecond,
            $to_at - interval 1 microsecond
        ),
        to_minutes($minutes)
    )) as known_at
    from departed where leg is not null
)
select tailnum, known_at, dep_delay::float as aircraft_dep_delay,
    case when arr_at <= known_at then arr_delay end::float as aircraft_arr_delay,
    (epoch(
        case when arr_at <= known_at then arr_at else greatest(sched_arr_at + to_minutes(dep_delay), known_at) end
        + leg + to_minutes(2 * $turn) - known_at
    ) / 60)::float as aircraft_minutes_away
from seen where known_at >= $from_at
order by known_at, tailnum
"""


def rotation(tables: Tables, window: Window) -> pa.Table:
    """By aircraft on its way: delays of its last departure, minutes until it can leave again (below 0: it is back)."""
    known = {"start": window.start, "end": window.end, "from_at": window.start_at, "to_at": window.end_at}
    return query(ROTATIONS, tables, {**known, "minutes": MINUTES, "turn": TURN, "idle": IDLE})
