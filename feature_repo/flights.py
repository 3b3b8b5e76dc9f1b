"""Feast declarations of the flights: derived from the feature tables, but for the on-demand view of the request."""

import pandas as pd
from feast import Field, RequestSource
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float32, UnixTimestamp

from pipelines.declare.feast_objects import feast_objects
from pipelines.usecases.flights import USECASE

OF_THE_REQUEST = ("dep_minute", "dep_hour", "dep_weekday")


@on_demand_feature_view(
    sources=[RequestSource(name="scheduled", schema=[Field(name="sched_dep_at", dtype=UnixTimestamp)])],
    schema=[Field(name=name, dtype=Float32) for name in OF_THE_REQUEST],
)
def calendar(request: pd.DataFrame) -> pd.DataFrame:
    """The request's own features. The chain calls the same function itself; serving never loads this view."""
    from pipelines.request_columns import with_features
    from pipelines.usecases.flights import USECASE

    return with_features(USECASE, request)[["dep_minute", "dep_hour", "dep_weekday"]]


with_calendar = {service: [calendar] for service in ("flight_delay_v2", "flight_delay_v3")}
globals().update(feast_objects(USECASE, with_calendar, {"tailnum": "aircraft"}))
