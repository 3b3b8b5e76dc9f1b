"""What is pushed during a day, from records as they stood at the moment, is what a backfill of the day gives."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.context import Context
from pipelines.features.parity import compare, offline_values, online_values, sample_entities
from pipelines.instants import midnight
from pipelines.online.standing import online_stands_at
from pipelines.steps import execute
from pipelines.usecases.flights.departures import query
from tests.services import thorough

START, TODAY, TOMORROW = date(2013, 1, 2), date(2013, 1, 8), date(2013, 1, 9)
HAPPENS = {"dep_at": ("dep_time", "dep_delay"), "arr_at": ("arr_time", "arr_delay", "air_time")}
WINDOW = {"start": str(START), "end": "2013-01-10"}


def put_back(context: Context, whole: dict[str, dict[date, pa.Table]], until: datetime) -> None:
    """Make the validated tables what they were: the schedules of days that had begun, and what had happened."""
    airports = context.data.read_reference("validated", "airports")
    for day, flights in whole["flights"].items():
        at = query("select * from departures", {"flights": flights, "airports": airports}, {})
        assert at.num_rows == flights.num_rows
        for happens, columns in HAPPENS.items():
            known = pc.fill_null(pc.less_equal(at[happens], pa.scalar(until)), False)
            for column in columns:
                place = at.column_names.index(column)
                at = at.set_column(place, column, pc.if_else(known, at[column], pa.scalar(None, at[column].type)))
        now = at.select(flights.column_names).cast(flights.schema)
        if midnight(day, context.usecase.timezone) <= until:
            context.data.store.write_table(context.data.partition("validated", "flights", day), now)
    for day, weather in whole["weather"].items():
        seen = weather.filter(pc.less_equal(pc.add(weather["time_hour"], timedelta(hours=1)), pa.scalar(until)))
        context.data.store.write_table(context.data.partition("validated", "weather", day), seen)


@thorough
def test_pushed_values_are_the_backfilled_ones(flights: Context) -> None:
    for step in ("ingest", "validate", "build_features"):
        execute(step, WINDOW, flights)
    execute("apply_features", {}, flights)
    begins = midnight(TODAY, flights.usecase.timezone)
    execute("materialize", {"as_of": begins.isoformat()}, flights)
    whole: dict[str, dict[date, pa.Table]] = {"flights": {}, "weather": {}}
    for table, days in whole.items():  # the features of these days stay: they are the backfill
        for day in (TODAY, TOMORROW):
            place = flights.data.partition("validated", table, day)
            days[day] = flights.data.store.read_table(place)
            flights.data.store.delete(place)
    compared = 0
    for hours in (0, 9.12, 17.5, 24.25):
        until = begins + timedelta(hours=hours)
        put_back(flights, whole, until)
        pushed = execute("push_features", {"until": until.isoformat()}, flights)
        assert datetime.fromisoformat(pushed["until"]) == until
        assert online_stands_at(flights.feast) == until + timedelta(microseconds=1)
        assert pushed["rows"]["origin_state"] == 3 and pushed["rows"]["carrier_state"] > 10
        assert ("aircraft_profile" in pushed["rows"]) == (hours in (0, 24.25)), "whenever a day begins"
        for view in flights.feast.list_feature_views():
            entities = sample_entities(flights.feast, view, until, 60)
            online, offline = (of(flights.feast, view, entities, until) for of in (online_values, offline_values))
            assert not compare(view.name, entities, online, offline)
            assert online.notna().any(axis=None), view.name
            compared += online.size
    assert compared > 5000
