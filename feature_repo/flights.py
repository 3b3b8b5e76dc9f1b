"""Feast declarations of the flights. Sources are named by feature table; the offline store knows where they lie."""

from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float32, String

carrier = Entity(name="carrier", join_keys=["carrier"], value_type=ValueType.STRING)
origin = Entity(name="origin", join_keys=["origin"], value_type=ValueType.STRING)
dest = Entity(name="dest", join_keys=["dest"], value_type=ValueType.STRING)
aircraft = Entity(name="aircraft", join_keys=["tailnum"], value_type=ValueType.STRING)


def view(name: str, entities: list[Entity], ttl: timedelta, features: list[str]) -> FeatureView:
    keys = [Field(name=entity.join_key, dtype=String) for entity in entities]
    return FeatureView(
        name=name,
        entities=entities,
        ttl=ttl,
        schema=keys + [Field(name=feature, dtype=Float32) for feature in features],
        source=FileSource(name=name, path=f"features/{name}", timestamp_field="known_at"),
    )


aircraft_profile = view(
    "aircraft_profile", [aircraft], timedelta(0), ["aircraft_year", "aircraft_seats", "aircraft_engines"]
)
carrier_stats = view(
    "carrier_stats",
    [carrier],
    timedelta(days=3),
    ["carrier_flights_7d", "carrier_late_rate_7d", "carrier_late_rate_28d", "carrier_arr_delay_7d"],
)
route_stats = view(
    "route_stats",
    [origin, dest],
    timedelta(days=3),
    ["route_flights_28d", "route_late_rate_7d", "route_late_rate_28d", "route_arr_delay_28d"],
)
weather_observed = view(
    "weather_observed",
    [origin],
    timedelta(hours=6),
    ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"],
)
origin_state = view(
    "origin_state",
    [origin],
    timedelta(hours=1),
    [
        "origin_departures_2h",
        "origin_dep_delay_1h",
        "origin_dep_delay_2h",
        "origin_dep_delay_4h",
        "origin_late_share_2h",
        "origin_waiting",
    ],
)

flight_delay_v1 = FeatureService(
    name="flight_delay_v1",
    features=[aircraft_profile, carrier_stats, route_stats, weather_observed, origin_state],
)
