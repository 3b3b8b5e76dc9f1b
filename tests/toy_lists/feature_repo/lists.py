from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float32, Float64, Int64, String, UnixTimestamp

pump, part, plant = (
    Entity(name=name, join_keys=[name], value_type=ValueType.STRING) for name in ("pump", "part", "plant")
)


def view(name: str, entities: list[Entity], days: int, **features: object) -> FeatureView:
    return FeatureView(
        name=name,
        entities=entities,
        ttl=timedelta(days=days),
        schema=[
            *(Field(name=entity.name, dtype=String) for entity in entities),
            *(Field(name=feature, dtype=dtype) for feature, dtype in features.items()),
        ],
        source=FileSource(name=name, path=f"features/{name}", timestamp_field="known_at"),
    )


pump_heat = view("pump_heat", [pump], 2, heat_1d=Float32, heat_3d=Float32)
pump_maker = view("pump_maker", [pump], 0, age=Float32)
pump_last = view("pump_last", [pump], 2, last_at=UnixTimestamp, last_load=Float64, grade=String)
part_wear = view("part_wear", [part], 2, wear=Float32)
part_stock = view("part_stock", [part, plant], 2, on_stock=Int64)
pump_parts_v1 = FeatureService(
    name="pump_parts_v1", features=[pump_heat[["heat_3d"]], pump_last, part_wear, part_stock]
)
