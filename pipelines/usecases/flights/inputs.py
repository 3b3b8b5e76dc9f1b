"""The inputs of a model, by the feature service that it is trained on. A service that models record does not change."""

from __future__ import annotations

from pipelines.usecase import ModelInputs
from pipelines.usecases.flights.views import (
    AIRCRAFT,
    CARRIER_DAY,
    CARRIER_STATE,
    CARRIER_STATS,
    CONGESTION,
    DEST_STATE,
    DEST_STATS,
    HUB_STATE,
    ORIGIN_DAY,
    ORIGIN_STATE,
    ROTATION,
    ROUTE_STATS,
    WEATHER,
)

CATEGORICAL = ("carrier", "origin", "dest")
SCHEDULE = ("dep_minute", "dep_weekday", "distance", "scheduled_minutes")
V1 = (
    *SCHEDULE,
    *AIRCRAFT.names,
    *("carrier_flights_7d", "carrier_late_rate_7d", "carrier_late_rate_28d", "carrier_arr_delay_7d"),
    *("route_flights_28d", "route_late_rate_7d", "route_late_rate_28d", "route_arr_delay_28d"),
    *WEATHER.names,
    *("origin_departures_2h", "origin_dep_delay_1h", "origin_dep_delay_2h", "origin_dep_delay_4h"),
    *("origin_late_share_2h", "origin_waiting"),
)
V2 = (
    *SCHEDULE,
    *AIRCRAFT.names,
    *CARRIER_STATS.by_measure,
    *ROUTE_STATS.by_measure,
    *DEST_STATS.by_measure,
    *WEATHER.names,
    *CONGESTION.names,
    *ORIGIN_STATE.by_measure,
    *CARRIER_STATE.by_measure,
)
V3 = (
    *V2,
    *(name for view in (ORIGIN_DAY, CARRIER_DAY, HUB_STATE, DEST_STATE, ROTATION) for name in view.names),
)
MODEL_INPUTS = {
    "flight_delay_v1": ModelInputs(V1, CATEGORICAL),
    "flight_delay_v2": ModelInputs(V2, CATEGORICAL),
    "flight_delay_v3": ModelInputs(V3, CATEGORICAL),
}
