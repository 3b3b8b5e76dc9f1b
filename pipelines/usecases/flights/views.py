"""The feature tables of the flights, of which the built tables, Feast's views and the models' inputs follow. Light."""

from __future__ import annotations

from datetime import timedelta

from pipelines.declare import (
    Active,
    Coded,
    Events,
    Level,
    Measure,
    Over,
    Trailing,
    count,
    latest,
    mean,
    profile,
    share,
    trailing,
)
from pipelines.usecases.flights.departures import DEPARTURES

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
LATE = 15  # minutes, of a departure, a waiting flight and an arrival
LONGEST_WAIT = 240  # minutes after which a flight no longer counts as waiting

# A flight may leave, and land, a day late.
LANDED = Events(DEPARTURES, "arr_at", where="arr_delay is not null", late=2 * DAY)
LEFT = Events(DEPARTURES, "dep_at", late=2 * DAY)
SCHEDULED = Events(DEPARTURES, "day_began_at")
WAITING = Level(
    "waiting",
    DEPARTURES,
    since=f"sched_dep_at + interval {LATE} minutes",
    until=f"least(sched_dep_at + interval {LONGEST_WAIT} minutes + interval 1 microsecond, dep_at)",
    longest=2 * DAY,
)


def delays(number: str, delay: str, late: str, minutes: str) -> dict[str, Measure]:
    """The number of flights, their mean delay, and the share of those that are late, by these names."""
    return {number: count(), delay: mean(minutes), late: share(f"{minutes} >= {LATE}")}


def stats(prefix: str, *keys: str) -> Trailing:
    """As each day begins: flights that landed in the days before, their late share and mean delay."""
    measures = {"flights": count(), "late_rate": share(f"arr_delay >= {LATE}"), "arr_delay": mean("arr_delay")}
    landed = Over(LANDED, measures, (7 * DAY, 28 * DAY))
    return trailing(f"{prefix}_stats", keys, landed, every=DAY, ttl=3 * DAY, prefix=prefix, rows="window")


def departed(*hours: int) -> Over:
    """Flights that left in the last hours."""
    measures = delays("departures", "dep_delay", "late_share", "dep_delay")
    return Over(LEFT, measures, tuple(n * HOUR for n in hours))


def landed(*hours: int) -> Over:
    """Flights that landed in the last hours."""
    measures = delays("arrivals", "arr_delay", "late_arrivals", "arr_delay")
    return Over(LANDED, measures, tuple(n * HOUR for n in hours))


def state(name: str, *keys: str, of: tuple[Over | Level, ...], minutes: int = 15) -> Trailing:
    """Streaming: on days with scheduled flights and those after, pushed as flights leave and land."""
    prefix, grid = name.partition("_")[0], minutes * MINUTE
    return trailing(name, keys, *of, every=grid, ttl=HOUR, prefix=prefix, rows=Active(SCHEDULED, 2))


AIRCRAFT = profile(
    "aircraft_profile",
    ("tailnum",),
    "planes",
    {"aircraft_year": "year", "aircraft_seats": "seats", "aircraft_engines": "engines"},
)
CARRIER_STATS = stats("carrier", "carrier")
ROUTE_STATS = stats("route", "origin", "dest")
DEST_STATS = stats("dest", "dest")
MEASURED = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")
# An observation has the hour in which it was made; it is known by the end of that hour.
WEATHER = latest(
    "weather_observed",
    ("origin",),
    Events("weather", "time_hour", delay=HOUR),
    dict(zip(MEASURED, MEASURED, strict=True)),
    ttl=6 * HOUR,
)
# Known as the day begins. An hour before departure that is less than 23 hours ago, unless the flight leaves in the
# first hour of the next day: its schedule is not known yet, and yesterday's must not stand in for it.
CONGESTION = Coded(
    "congestion",
    ("origin", "carrier", "sched_hour"),
    DEPARTURES.sources,
    ttl=23 * HOUR - MINUTE,
    builder="pipelines.usecases.flights.features:congestion",
    columns={
        "hour_departures": "scheduled departures of the airport in the hour",
        "previous_hour_departures": "in the hour before",
        "next_hour_departures": "in the hour after",
        "day_departures": "on the day",
        "carrier_hour_departures": "of the carrier in the hour",
        "carrier_hour_share": "the carrier's share of the hour",
    },
)
ORIGIN_STATE = state("origin_state", "origin", of=(departed(1, 2, 4), WAITING))
CARRIER_STATE = state("carrier_state", "carrier", of=(departed(1, 2, 4), WAITING))
ORIGIN_DAY = state("origin_day", "origin", of=(departed(12), landed(2, 4, 12)))
CARRIER_DAY = state("carrier_day", "carrier", of=(departed(12), landed(4, 12)))
HUB_STATE = state("hub_state", "origin", "carrier", of=(departed(2, 4, 12), WAITING))
DEST_STATE = state("dest_state", "dest", of=(departed(4, 12), landed(4)), minutes=30)
# The last row of an aircraft on no way any more expires a minute before a slot begins, not when it does: whoever
# asks in steps of a quarter of an hour, as a replay does, then finds what is found at a request's own minute.
ROTATION = Coded(
    "aircraft_rotation",
    ("tailnum",),
    DEPARTURES.sources,
    lookback_days=2,
    ttl=HOUR - MINUTE,
    builder="pipelines.usecases.flights.rotation:rotation",
    columns={
        "aircraft_dep_delay": "minutes by which it left late the last time",
        "aircraft_arr_delay": "minutes by which it landed late, once that is known",
        "aircraft_minutes_away": "minutes until it can leave again; negative: it is back",
    },
)
VIEWS = (
    *(AIRCRAFT, CARRIER_STATS, ROUTE_STATS, DEST_STATS, WEATHER, CONGESTION),
    *(ORIGIN_STATE, CARRIER_STATE, ORIGIN_DAY, CARRIER_DAY, HUB_STATE, DEST_STATE, ROTATION),
)
