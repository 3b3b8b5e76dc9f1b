"""Flights with their scheduled and actual instants of departure and arrival, in UTC. Light to import."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipelines.declare.events import Prepared
from pipelines.instants import sql_midnight
from pipelines.usecases.flights.columns import ZONE

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.usecase import Tables

# The airports table lacks four destinations.
ZONES = {"BQN": "America/Puerto_Rico", "PSE": "America/Puerto_Rico", "SJU": "America/Puerto_Rico"} | {
    "STT": "America/St_Thomas"
}

DEPARTURES = Prepared(
    "departures",
    f"""
with zones as (
    select * from (values {", ".join(f"('{faa}', '{zone}')" for faa, zone in ZONES.items())}) as zones (faa, tzone)
),
scheduled as (
    select f.*,
        time_hour + to_minutes(minute) as sched_dep_at,
        {sql_midnight("local_day", ZONE)} as day_began_at,
        timezone(
            coalesce(a.tzone, z.tzone),
            local_day::timestamp + to_minutes(sched_arr_time // 100 * 60 + sched_arr_time % 100)
        ) as arr_that_day
    from flights f left join airports a on a.faa = f.dest left join zones z on z.faa = f.dest
),
timed as (
    select *,
        case when arr_that_day > sched_dep_at then arr_that_day else arr_that_day + interval 1 day end as sched_arr_at
    from scheduled
)
select *,
    -- A record belongs to its local day: none of its instants lies before that day, however early the flight left.
    -- (greatest() ignores nulls, so the cases come first: a flight without a delay has not left, and the landing in an
    -- unknown zone has no known instant.)
    case when dep_delay is not null then greatest(sched_dep_at + to_minutes(dep_delay), day_began_at) end as dep_at,
    case when arr_delay is not null and sched_arr_at is not null
        then greatest(sched_arr_at + to_minutes(arr_delay), day_began_at) end as arr_at
from timed
""",
    ("flights", "airports"),
)


def query(sql: str, tables: Tables, parameters: dict[str, Any]) -> pa.Table:
    """Run one query over the tables, of which the flights give the view `departures` too.

    Local days and hours are New York's; instants in the result are in UTC.
    """
    from pipelines.declare.rows import connect, in_utc

    bindings = {name: value for name, value in parameters.items() if f"${name}" in sql}
    with connect(tables, ZONE, [DEPARTURES] if "flights" in tables else []) as connection:
        return in_utc(connection.sql(sql, params=bindings).to_arrow_table())
