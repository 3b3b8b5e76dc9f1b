"""Features pushed during a day, from the records known at that moment, equal those of a backfill of the day."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pyarrow as pa

from pipelines.context import Context
from pipelines.features.parity import compare, offline_values, online_values, sample_entities
from pipelines.instants import midnight
from pipelines.online.standing import online_stands_at
from pipelines.steps import execute
from pipelines.usecases.flights.knowledge import as_known
from tests.services import thorough

START, TODAY, TOMORROW = date(2013, 1, 2), date(2013, 1, 8), date(2013, 1, 9)
WINDOW = {"start": str(START), "end": "2013-01-10"}


def put_back(context: Context, whole: dict[str, dict[date, pa.Table]], until: datetime) -> None:
    """Reset the validated tables to an instant: the schedules of days that had begun, and events that had happened."""
    airports = context.data.read_reference("validated", "airports")
    for day, flights in whole["flights"].items():
        tables = {"flights": flights, "weather": whole["weather"][day], "airports": airports}
        now = as_known(tables, until)
        has_begun = midnight(day, context.usecase.timezone) <= until
        assert now["flights"].num_rows == (flights.num_rows if has_begun else 0)
        for name in ("flights", "weather") if has_begun else ("weather",):
            context.data.store.write_table(context.data.partition("validated", name, day), now[name])


@thorough
def test_pushed_values_equal_backfilled_values(flights: Context) -> None:
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
