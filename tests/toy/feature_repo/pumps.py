from datetime import timedelta

import pandas as pd
from feast import Entity, FeatureService, FeatureView, Field, FileSource, RequestSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float32, String, UnixTimestamp

pump = Entity(name="pump", join_keys=["pump"], value_type=ValueType.STRING)
pump_heat = FeatureView(
    name="pump_heat",
    entities=[pump],
    ttl=timedelta(days=2),
    schema=[Field(name="pump", dtype=String), *(Field(name=name, dtype=Float32) for name in ("heat_1d", "heat_3d"))],
    source=FileSource(name="pump_heat", path="features/pump_heat", timestamp_field="known_at"),
)
pump_maker = FeatureView(
    name="pump_maker",
    entities=[pump],
    ttl=timedelta(0),
    schema=[Field(name="pump", dtype=String), Field(name="age", dtype=Float32)],
    source=FileSource(name="pump_maker", path="features/pump_maker", timestamp_field="known_at"),
)


@on_demand_feature_view(  # type: ignore[untyped-decorator]  # Feast has no annotations
    sources=[RequestSource(name="reading", schema=[Field(name="read_at", dtype=UnixTimestamp)])],
    schema=[Field(name="hour", dtype=Float32)],
)
def reading_hour(request: pd.DataFrame) -> pd.DataFrame:
    from pipelines.request_columns import with_features
    from tests.toy import USECASE

    return with_features(USECASE, request)[["hour"]]


pump_service_v1 = FeatureService(name="pump_service_v1", features=[pump_heat[["heat_3d"]], pump_maker])
pump_service_v2 = FeatureService(name="pump_service_v2", features=[reading_hour, pump_heat, pump_maker])
