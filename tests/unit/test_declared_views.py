"""Declared observations, profiles and schedules; the Feast objects of views; errors that name the view."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from feast import FeatureService, FeatureView

from examples.shop import USECASE as SHOP
from pipelines.declare import (
    Coded,
    Events,
    Over,
    count,
    latest,
    profile,
    schedule,
    trailing,
)
from pipelines.declare.feast_objects import feast_objects
from pipelines.declare.tables import feature_rows
from pipelines.errors import CorruptData, InvalidInput
from pipelines.features.training_set import with_slices
from pipelines.windows import Window
from tests.toy import USECASE

HOUR = timedelta(hours=1)
WINDOW = Window(date(2024, 3, 30), date(2024, 4, 2), "Europe/Berlin")  # clocks are set forward on the 31st


def built(view: Any, **tables: pa.Table) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = feature_rows(USECASE, view, tables, WINDOW).to_pylist()
    return rows


def readings(*rows: tuple[str | None, datetime | None, float]) -> pa.Table:
    pumps, at, heat = zip(*rows, strict=True) if rows else ((), (), ())
    days = [None if one is None else (one + timedelta(hours=2)).date() for one in at]
    table = {"pump": pa.array(pumps, pa.string()), "at": pa.array(at, pa.timestamp("us", "UTC"))}
    return pa.table(table | {"heat": pa.array(heat, pa.float64()), "local_day": pa.array(days, pa.date32())})


def test_an_observation_counts_from_the_instant_at_which_it_is_known() -> None:
    at = datetime(2024, 3, 31, 10, tzinfo=UTC)
    rows = readings(
        ("b", at, 2.0), ("a", at, 1.0), (None, at, 3.0), ("a", at - 60 * HOUR, 4.0), ("a", at + 60 * HOUR, 5.0)
    )
    view = latest(
        "seen", ("pump",), Events("rows", '"at"', delay=HOUR, where="heat < 9"), {"heat": "heat", "double": "heat * 2"}
    )
    assert view.lookback_days == 1 and view.names == ("heat", "double")
    assert [tuple(row.values()) for row in built(view, rows=rows)] == [("a", at + HOUR, 1, 2), ("b", at + HOUR, 2, 4)]


def test_an_observation_later_than_its_declared_delay_stops_the_build() -> None:
    rows = readings(("a", datetime(2024, 3, 31, 10, tzinfo=UTC), 1.0))
    view = latest("seen", ("pump",), Events("rows", '"at"', delay=HOUR, late=2 * HOUR), {"heat": "heat"})
    with pytest.raises(CorruptData, match='1 events by "at" are known more than 2:00:00 after their days began'):
        built(view, rows=rows)


def test_a_profile_is_known_from_the_first_day() -> None:
    makers = pa.table({"pump": ["b", "a", None], "age": [3.0, None, 1.0]})
    view = profile("maker", ("pump",), "makers", {"age": "age", "is_old": "age > 2"})
    known = datetime(2024, 2, 29, 23, tzinfo=UTC)
    assert not view.daily and built(view, makers=makers) == [
        {"pump": "a", "known_at": known, "age": None, "is_old": None},
        {"pump": "b", "known_at": known, "age": 3.0, "is_old": 1.0},
    ]


def test_a_schedule_counts_the_rows_of_a_day_as_it_begins() -> None:
    visits = pa.table(
        {
            "pump": ["a", "a", "b", "a", None],
            "plant": ["n", "s", "n", "n", "n"],
            "local_day": pa.array([date(2024, 3, 31)] * 3 + [date(2024, 4, 1)] * 2),
        }
    )
    view = schedule(
        "planned", ("pump", "plant"), "visits", {"here": ("pump", "plant"), "of_plant": ("plant",), "all": ()}
    )
    first, second = datetime(2024, 3, 30, 23, tzinfo=UTC), datetime(2024, 3, 31, 22, tzinfo=UTC)
    assert [tuple(row.values()) for row in built(view, visits=visits)] == [
        ("a", "n", first, 1, 2, 3),
        ("a", "s", first, 1, 1, 3),
        ("b", "n", first, 1, 2, 3),
        ("a", "n", second, 1, 1, 1),
    ]
    with pytest.raises(InvalidInput, match=r"planned: here counts by \['maker'\], which are none of its keys"):
        schedule("planned", ("pump",), "visits", {"here": ("maker",)})
    with pytest.raises(InvalidInput, match="view planned: plan has no days, as which a schedule could begin"):
        built(schedule("planned", ("pump",), "plan", {"n": ()}), plan=pa.table({"pump": ["a"]}))


def test_a_view_may_name_its_builder() -> None:
    view = Coded(
        "made", ("pump",), ("readings",), builder="tests.unit.test_declared_views:made", columns={"heat": "it"}
    )
    assert built(view, readings=readings()) == [{"pump": "made"}]
    with pytest.raises(InvalidInput, match=r"view made: no builder 'tests.unit:nothing' .* name it MODULE:FUNCTION"):
        built(replace(view, builder="tests.unit:nothing"))


def made(tables: Any, window: Window) -> pa.Table:
    return pa.table({"pump": ["made"]})


def test_feast_objects_follow_from_the_declarations() -> None:
    objects = feast_objects(SHOP)
    views = {name: one for name, one in objects.items() if isinstance(one, FeatureView)}
    assert {name: [str(field.dtype) for field in view.features] for name, view in views.items()} == {
        "customer_orders": ["Float32"] * 6 + ["UnixTimestamp"],
        "item_sales": ["Float32"] * 3,
    }
    assert views["item_sales"].features[0].description == "sum pieces of lines by ordered_at, last 28d"
    service = objects["order_again_v1"]
    assert isinstance(service, FeatureService)
    chosen = {one.name: [field.name for field in one.features] for one in service.feature_view_projections}
    stored = ["orders_30d", "orders_90d", "spent_90d", "basket_90d", "last_order_at"]
    assert {*chosen["item_sales"]} == {"price_28d", "buyers_28d", "sold_28d"}, (
        "columns read by derived inputs are included"
    )
    assert chosen["customer_orders"] == stored


def test_keys_have_the_types_of_their_columns() -> None:
    usecase: Any = type("Keys", (type(SHOP),), {"feature_tables": (by("line"), by("customer"), by("price"))})()
    with pytest.raises(InvalidInput, match="key price is float64; entity keys are string, int32, int64"):
        feast_objects(usecase)
    usecase.feature_tables = (by("line"), by("customer"), by("made_up"))
    entities = {
        one.name: one.value_type.name for name, one in feast_objects(usecase).items() if name.startswith("entity_")
    }
    assert entities == {"line": "INT32", "customer": "STRING", "made_up": "STRING"}


def by(key: str) -> Any:
    return trailing(f"by_{key}", (key,), Over(Events("lines", "ordered_at"), {f"n_{key}": count()}, (24 * HOUR,)))


def test_slices_must_be_existing_columns() -> None:
    frame = pd.DataFrame({"plant": ["n"]})
    assert with_slices(frame, USECASE) is frame
    with pytest.raises(InvalidInput, match="slices of pumps are by region, which neither the examples"):
        with_slices(frame, replace(USECASE, slices=("plant", "region")))
