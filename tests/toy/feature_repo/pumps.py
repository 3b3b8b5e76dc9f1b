from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float32, String

pump = Entity(name="pump", join_keys=["pump"], value_type=ValueType.STRING)
pump_heat = FeatureView(
    name="pump_heat",
    entities=[pump],
    ttl=timedelta(days=2),
    schema=[Field(name="pump", dtype=String), Field(name="heat_3d", dtype=Float32)],
    source=FileSource(name="pump_heat", path="features/pump_heat", timestamp_field="known_at"),
)
pump_maker = FeatureView(
    name="pump_maker",
    entities=[pump],
    ttl=timedelta(0),
    schema=[Field(name="pump", dtype=String), Field(name="age", dtype=Float32)],
    source=FileSource(name="pump_maker", path="features/pump_maker", timestamp_field="known_at"),
)
pump_service_v1 = FeatureService(name="pump_service_v1", features=[pump_heat, pump_maker])
