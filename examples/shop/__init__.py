"""A shop's order lines, as its till exports them: will this customer order again within 30 days?"""

from __future__ import annotations

from datetime import date, timedelta
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from pipelines.declare import Events, Over, Prepared, count, distinct, last_at, mean, total, trailing
from pipelines.declare.base import Base
from pipelines.declare.derived import Difference, Each, Ratio
from pipelines.usecase import PREDICTED_AT, ModelInputs, RawTable, UseCase

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
TEXTS = dict.fromkeys(("order_id", "customer", "channel", "item"), "string")
LINE = {**TEXTS, "line": "int32", "pieces": "int32", "price": "float64", "ordered_at": "timestamp[us, UTC]"}
ORDERS = Prepared(
    "orders",
    """select order_id, customer, channel, local_day, min(ordered_at) as ordered_at, sum(pieces * price) as amount,
        list(item order by line) as items
    from lines group by all""",
    ("lines",),
)
# Known a minute after: an order is predicted as it is placed, and is none of its own past.
PLACED, SOLD = Events(ORDERS, "ordered_at", delay=MINUTE), Events("lines", "ordered_at", delay=MINUTE)
HABIT = {"orders": count(), "spent": total("amount", decimals=2), "basket": mean("amount", decimals=2)}
ITEM = {"sold": total("pieces"), "price": mean("price", decimals=2), "buyers": distinct("customer")}
VIEWS = (
    trailing(
        "customer_orders",
        ("customer",),
        Over(PLACED, HABIT, windows=(30 * DAY, 90 * DAY)),
        Over(PLACED, {"last_order_at": last_at()}, within=90 * DAY),
        every=None,
    ),
    trailing("item_sales", ("item",), Over(SOLD, ITEM, windows=(28 * DAY,))),
)
STORED = ("orders_30d", "orders_90d", "spent_90d", "basket_90d")


class Order(BaseModel):
    """An order, as it is placed."""

    customer: str = Field(pattern=r"^C[0-9]{1,8}$")
    channel: Literal["web", "phone", "till"]
    amount: float = Field(ge=0, le=100_000)
    items: list[Annotated[str, Field(pattern=r"^I[0-9]{1,6}$")]] = Field(max_length=50)


class Shop(Base):
    name, timezone, start, split_on = "shop", "Europe/Berlin", date(2024, 1, 1), "customer"
    maturity, looks_ahead = timedelta(days=31), 30 * DAY
    tables = (RawTable("lines", ("order_id", "line"), LINE, day="ordered_at"),)
    feature_tables, prepared, request, slices = VIEWS, (ORDERS,), Order, ("channel",)
    derived = (
        Difference("days_since_order", PREDICTED_AT, "last_order_at", unit=DAY),
        Ratio("amount_to_basket", "amount", "basket_90d"),
        Each("items_sold", "items", "item", "sold_28d", "mean"),
        Each("most_buyers", "items", "item", "buyers_28d", "max"),
        Each("dearest_item", "items", "item", "price_28d", "max"),
    )
    inputs = ("amount", *STORED, *(name for one in derived for name in one.names))
    model_inputs = MappingProxyType({"order_again_v1": ModelInputs(inputs, ("channel",))})
    examples_sql = """
        select order_id as example_id, ordered_at as predicted_at, local_day, customer, channel, amount, items,
            coalesce(next_at < ordered_at + interval 30 days, false)::double as label,
            least(next_at, ordered_at + interval 30 days) as label_known_at
        from (select *, lead(ordered_at) over (partition by customer order by ordered_at, order_id) as next_at
            from orders)
        where local_day >= $start and local_day < $end
        order by predicted_at, example_id"""


USECASE: UseCase = Shop()
