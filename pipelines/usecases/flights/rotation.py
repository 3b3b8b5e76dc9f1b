"""The rotation of each aircraft: the delay of its last departure, and the time until it can depart again.

Only departures from New York are on record. An aircraft that left is away for the outbound flight, a turn, the flight
back and another turn; a flight that it is scheduled for before that will be late. Rows lie on a grid of half an hour,
from the departure until the aircraft has been back for some time, or leaves again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.usecases.flights.departures import query

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.usecase import Tables
    from pipelines.windows import Window

MINUTES = 30  # of a slot
TURN = 45  # minutes on the ground, at either end
IDLE = 120  # minutes for which an aircraft that is back still has rows

# An arrival counts once it is known. Until then the expected landing is as late as the departure, and not in the past.
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
    """By aircraft: delays of its last flight, and minutes until it can leave again (negative: it is back)."""
    parameters = {"start": window.start, "end": window.end, "from_at": window.start_at, "to_at": window.end_at}
    return query(ROTATIONS, tables, {**parameters, "minutes": MINUTES, "turn": TURN, "idle": IDLE})
