"""The examples: flights with their instant of prediction and their labels."""

from __future__ import annotations

import pyarrow as pa

from pipelines.usecase import Tables
from pipelines.usecases.flights.departures import query
from pipelines.windows import Window

EXAMPLES = """
select
    concat_ws(':', local_day, carrier || flight, origin || '-' || dest, sched_dep_time) as example_id,
    sched_dep_at - interval 1 hour as predicted_at,
    local_day,
    (arr_delay >= 15)::double as label,
    case when arr_delay is not null then arr_at end as label_known_at,
    (dep_at is null)::double as cancelled,
    coalesce(dep_at, sched_dep_at) as cancelled_known_at,
    carrier, flight, origin, dest, tailnum, sched_dep_at,
    ((epoch_us(sched_arr_at) - epoch_us(sched_dep_at)) / 60e6)::float as scheduled_minutes, distance::float as distance
from departures
where local_day >= $start and local_day < $end
order by predicted_at, example_id
"""


def examples(tables: Tables, window: Window) -> pa.Table:
    """All flights of the window; the label of cancelled and diverted flights is always null.

    That a flight is not cancelled is known at its departure; that it is cancelled, at its scheduled departure, since
    the source has no instant of cancellation.
    """
    return query(EXAMPLES, tables, {"start": window.start, "end": window.end})
