"""The inputs of a model, by the feature service that it is trained on. A service that models record does not change."""

from __future__ import annotations

from pipelines.usecase import ModelInputs

CATEGORICAL = ("carrier", "origin", "dest")
SCHEDULE = ("dep_minute", "dep_weekday", "distance", "scheduled_minutes")
AIRCRAFT = ("aircraft_year", "aircraft_seats", "aircraft_engines")
WEATHER = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")
CONGESTION = (
    "hour_departures",
    "previous_hour_departures",
    "next_hour_departures",
    "day_departures",
    "carrier_hour_departures",
    "carrier_hour_share",
)


def stats(prefix: str) -> tuple[str, ...]:
    return tuple(f"{prefix}_{what}_{days}d" for what in ("flights", "late_rate", "arr_delay") for days in (7, 28))


def state(prefix: str) -> tuple[str, ...]:
    parts = ("departures", "dep_delay", "late_share")
    return (*(f"{prefix}_{what}_{hours}h" for what in parts for hours in (1, 2, 4)), f"{prefix}_waiting")


def departed(prefix: str, *hours: int) -> tuple[str, ...]:
    return tuple(f"{prefix}_{what}_{h}h" for h in hours for what in ("departures", "dep_delay", "late_share"))


def landed(prefix: str, *hours: int) -> tuple[str, ...]:
    return tuple(f"{prefix}_{what}_{h}h" for h in hours for what in ("arrivals", "arr_delay", "late_arrivals"))


V1 = (
    *SCHEDULE,
    *AIRCRAFT,
    *("carrier_flights_7d", "carrier_late_rate_7d", "carrier_late_rate_28d", "carrier_arr_delay_7d"),
    *("route_flights_28d", "route_late_rate_7d", "route_late_rate_28d", "route_arr_delay_28d"),
    *WEATHER,
    *("origin_departures_2h", "origin_dep_delay_1h", "origin_dep_delay_2h", "origin_dep_delay_4h"),
    *("origin_late_share_2h", "origin_waiting"),
)
V2 = (
    *SCHEDULE,
    *AIRCRAFT,
    *stats("carrier"),
    *stats("route"),
    *stats("dest"),
    *WEATHER,
    *CONGESTION,
    *state("origin"),
    *state("carrier"),
)
V3 = (
    *V2,
    *departed("origin", 12),
    *landed("origin", 2, 4, 12),
    *departed("carrier", 12),
    *landed("carrier", 4, 12),
    *departed("hub", 2, 4, 12),
    "hub_waiting",
    *departed("dest", 4, 12),
    *landed("dest", 4),
    *("aircraft_dep_delay", "aircraft_arr_delay", "aircraft_minutes_away"),
)
MODEL_INPUTS = {
    "flight_delay_v1": ModelInputs(V1, CATEGORICAL),
    "flight_delay_v2": ModelInputs(V2, CATEGORICAL),
    "flight_delay_v3": ModelInputs(V3, CATEGORICAL),
}
