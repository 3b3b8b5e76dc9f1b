"""Feast declarations of the flights. Sources are named by feature table; the offline store knows where they lie."""

from datetime import timedelta

import pandas as pd
from feast import Entity, FeatureService, FeatureView, Field, FileSource, RequestSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float32, String, UnixTimestamp

DAY, HOUR = timedelta(days=1), timedelta(hours=1)

carrier = Entity(name="carrier", join_keys=["carrier"], value_type=ValueType.STRING)
origin = Entity(name="origin", join_keys=["origin"], value_type=ValueType.STRING)
dest = Entity(name="dest", join_keys=["dest"], value_type=ValueType.STRING)
aircraft = Entity(name="aircraft", join_keys=["tailnum"], value_type=ValueType.STRING)
sched_hour = Entity(name="sched_hour", join_keys=["sched_hour"], value_type=ValueType.STRING)


def view(name: str, entities: list[Entity], ttl: timedelta, features: list[str]) -> FeatureView:
    keys = [Field(name=entity.join_key, dtype=String) for entity in entities]
    return FeatureView(
        name=name,
        entities=entities,
        ttl=ttl,
        schema=keys + [Field(name=feature, dtype=Float32) for feature in features],
        source=FileSource(name=name, path=f"features/{name}", timestamp_field="known_at"),
    )


def stats(prefix: str) -> list[str]:
    """Landed in the trailing 7 and 28 days."""
    return [f"{prefix}_{what}_{days}d" for days in (7, 28) for what in ("flights", "late_rate", "arr_delay")]


def departed(prefix: str, *hours: int) -> list[str]:
    """Left in the last hours."""
    return [f"{prefix}_{what}_{h}h" for h in hours for what in ("departures", "dep_delay", "late_share")]


def landed(prefix: str, *hours: int) -> list[str]:
    """Landed in the last hours."""
    return [f"{prefix}_{what}_{h}h" for h in hours for what in ("arrivals", "arr_delay", "late_arrivals")]


aircraft_profile = view(
    "aircraft_profile", [aircraft], timedelta(0), ["aircraft_year", "aircraft_seats", "aircraft_engines"]
)
carrier_stats = view("carrier_stats", [carrier], 3 * DAY, stats("carrier"))
route_stats = view("route_stats", [origin, dest], 3 * DAY, stats("route"))
dest_stats = view("dest_stats", [dest], 3 * DAY, stats("dest"))
weather_observed = view(
    "weather_observed",
    [origin],
    6 * HOUR,
    ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"],
)
# Known as the day begins. An hour before departure that is less than 23 hours ago, unless the flight leaves in the
# first hour of the next day: its schedule is not known yet, and yesterday's must not stand in for it.
congestion = view(
    "congestion",
    [origin, carrier, sched_hour],
    23 * HOUR - timedelta(minutes=1),
    [
        "hour_departures",
        "previous_hour_departures",
        "next_hour_departures",
        "day_departures",
        "carrier_hour_departures",
        "carrier_hour_share",
    ],
)
# Streaming views: pushed as flights leave and land.
origin_state = view("origin_state", [origin], HOUR, [*departed("origin", 1, 2, 4), "origin_waiting"])
carrier_state = view("carrier_state", [carrier], HOUR, [*departed("carrier", 1, 2, 4), "carrier_waiting"])
origin_day = view("origin_day", [origin], HOUR, departed("origin", 12) + landed("origin", 2, 4, 12))
carrier_day = view("carrier_day", [carrier], HOUR, departed("carrier", 12) + landed("carrier", 4, 12))
hub_state = view("hub_state", [origin, carrier], HOUR, [*departed("hub", 2, 4, 12), "hub_waiting"])
dest_state = view("dest_state", [dest], HOUR, departed("dest", 4, 12) + landed("dest", 4))
# The last row of an aircraft on no way any more expires a minute before a slot begins, not when it does: whoever
# asks in steps of a quarter of an hour, as a replay does, then finds what is found at a request's own minute.
aircraft_rotation = view(
    "aircraft_rotation",
    [aircraft],
    HOUR - timedelta(minutes=1),
    ["aircraft_dep_delay", "aircraft_arr_delay", "aircraft_minutes_away"],
)

scheduled = RequestSource(
    name="scheduled",
    schema=[Field(name="sched_dep_at", dtype=UnixTimestamp)],
)


@on_demand_feature_view(
    sources=[scheduled],
    schema=[Field(name=name, dtype=Float32) for name in ("dep_minute", "dep_hour", "dep_weekday")],
)
def calendar(request: pd.DataFrame) -> pd.DataFrame:
    """The request's own features. The chain calls the same function itself; serving never loads this view."""
    from pipelines.request_columns import with_features
    from pipelines.usecases.flights import USECASE

    return with_features(USECASE, request)[["dep_minute", "dep_hour", "dep_weekday"]]


flight_delay_v1 = FeatureService(
    name="flight_delay_v1",
    features=[
        aircraft_profile,
        carrier_stats[["carrier_flights_7d", "carrier_late_rate_7d", "carrier_late_rate_28d", "carrier_arr_delay_7d"]],
        route_stats[["route_flights_28d", "route_late_rate_7d", "route_late_rate_28d", "route_arr_delay_28d"]],
        weather_observed,
        origin_state[
            [
                "origin_departures_2h",
                "origin_dep_delay_1h",
                "origin_dep_delay_2h",
                "origin_dep_delay_4h",
                "origin_late_share_2h",
                "origin_waiting",
            ]
        ],
    ],
)
flight_delay_v2 = FeatureService(
    name="flight_delay_v2",
    features=[
        calendar,
        aircraft_profile,
        carrier_stats,
        route_stats,
        dest_stats,
        weather_observed,
        congestion,
        origin_state,
        carrier_state,
    ],
)
flight_delay_v3 = FeatureService(
    name="flight_delay_v3",
    features=[
        calendar,
        aircraft_profile,
        carrier_stats,
        route_stats,
        dest_stats,
        weather_observed,
        congestion,
        origin_state,
        carrier_state,
        origin_day,
        carrier_day,
        hub_state,
        dest_state,
        aircraft_rotation,
    ],
)
