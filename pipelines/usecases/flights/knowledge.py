"""What was known of the records at an instant: schedules from the beginning of their day, and what had happened."""

from __future__ import annotations

from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.usecase import Tables
from pipelines.usecases.flights.departures import query

HAPPENS = {"dep_at": ("dep_time", "dep_delay"), "arr_at": ("arr_time", "arr_delay", "air_time")}
OBSERVED = timedelta(hours=1)  # an observation has the hour that it is of, and is known by its end


def as_known(tables: Tables, instant: datetime) -> Tables:
    """The tables as they stood: no flight of a later day, no departure or landing that was still to come."""
    flights, weather = tables["flights"], tables["weather"]
    sql = "select * from departures where day_began_at <= $instant"
    rows = query(sql, tables, {"instant": instant})
    for at, columns in HAPPENS.items():
        has_happened = pc.fill_null(pc.less_equal(rows[at], pa.scalar(instant)), False)
        for column in columns:
            place, kind = rows.column_names.index(column), rows.schema.field(column).type
            rows = rows.set_column(place, column, pc.if_else(has_happened, rows[column], pa.scalar(None, kind)))
    seen = pc.less_equal(weather["time_hour"], pa.scalar(instant - OBSERVED))
    known = rows.select(flights.column_names).cast(flights.schema)
    return {**tables, "flights": known, "weather": weather.filter(seen)}
