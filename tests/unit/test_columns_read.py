"""The columns that declared views read: those named in their SQL, or all where it may read others."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest

from examples.shop import USECASE as SHOP
from pipelines.declare import (
    Active,
    Coded,
    Events,
    Level,
    Measure,
    Over,
    Prepared,
    count,
    last,
    latest,
    mean,
    profile,
    schedule,
    share,
    since_last,
    trailing,
)
from pipelines.declare.columns import columns_read, names_in, part_read
from pipelines.declare.events import Rows
from pipelines.declare.tables import feature_rows
from pipelines.errors import InvalidInput
from pipelines.periods import A_DAY
from pipelines.usecase import FeatureTable
from pipelines.windows import Window

COLUMNS = ("id", "shop", "kind", "sold_at", "seen", "until", "price", "Pieces", "returned", "paid", "local_day")
KEPT = Prepared("kept", "select shop, sold_at, price, local_day from sales where seen is not null", ("sales",))
ENRICHED = Prepared("rich", "select *, price * 2 as double from sales", ("sales",))


def over(rows: Rows = "sales", at: str = "sold_at", where: str | None = None, **measures: Measure) -> Over:
    return Over(Events(rows, at, where=where), measures or {"n": count()}, (A_DAY,))


def view(*parts: Over | Level, keys: Sequence[str] = ("shop",), active: Active | None = None) -> FeatureTable:
    return trailing("v", tuple(keys), *parts, rows=active or "changes", ttl=A_DAY)


READ: list[tuple[FeatureTable, set[str]]] = [
    (view(over()), {"shop", "sold_at"}),
    (view(over(), keys=("shop", "kind")), {"shop", "kind", "sold_at"}),
    (view(over(at="coalesce(seen, sold_at)")), {"shop", "sold_at", "seen"}),
    (view(over(where="kind = 'returned' and \"paid\"")), {"shop", "sold_at", "kind", "paid"}),
    (view(over(n=mean("PRICE * pieces", decimals=2))), {"shop", "sold_at", "price", "Pieces"}),
    (view(over(n=share("returned"), m=last("price"))), {"shop", "sold_at", "returned", "price"}),
    (view(Level("n", "sales", "sold_at", "until", A_DAY)), {"shop", "sold_at", "until"}),
    (view(over(), active=Active(Events("sales", "seen", where="paid"))), {"shop", "sold_at", "seen", "paid"}),
    (view(over(KEPT)), {"shop", "sold_at", "price", "seen"}),
    (view(over(KEPT), over(m=mean("paid::int"))), {"shop", "sold_at", "price", "seen", "paid"}),
    (view(over(n=mean("(select max(paid::int) from sales)"))), {"shop", "sold_at", "paid"}),
    (
        latest("v", ("shop",), Events("sales", "sold_at", where="paid"), {"p": "price"}),
        {"shop", "sold_at", "paid", "price"},
    ),
    (profile("v", ("shop",), "sales", {"p": "price"}), {"shop", "price"}),
    (schedule("v", ("shop", "kind"), "sales", {"n": ("shop",)}, where="not paid"), {"shop", "kind", "paid"}),
    (Coded("v", ("shop",), ("sales",), builder="m:f", columns={"n": ""}, reads=("price",)), {"shop", "price"}),
]
ALL: list[FeatureTable] = [
    FeatureTable("v", ("shop",), ("sales",)),
    Coded("v", ("shop",), ("sales",), builder="m:f", columns={"n": ""}),
    view(over(ENRICHED)),
    view(over(), over(ENRICHED, m=count())),
    view(over(KEPT, where="price > (select min(price) from (from sales))")),
    view(over(n=mean("greatest(*columns('p.*'))"))),
    view(over(where="sales is not null")),
    view(over(at="no expression (")),
]


@pytest.mark.parametrize(("table", "want"), READ)
def test_a_view_reads_the_columns_that_it_names(table: FeatureTable, want: set[str]) -> None:
    assert {*part_read(COLUMNS, columns_read(table))} == want | {"local_day"}


@pytest.mark.parametrize("table", ALL)
def test_a_view_that_does_not_name_its_columns_may_read_all(table: FeatureTable) -> None:
    assert columns_read(table) is None and part_read(COLUMNS, None) == [*COLUMNS]


@pytest.mark.parametrize(
    "sql",
    [
        "select a from s natural join t",
        "select l from (select b from s) as l",
        "with l as (select b from s) select l from l",
        "select x from s as l(x, y)",
        "select t.* from s as t",
        "from s",
        "pivot s on a using sum(b)",
        "select a from s order by #1",
        "summarize s",
        "select a from query_table('s')",
    ],
)
def test_sql_that_reads_columns_without_naming_them_is_noticed(sql: str) -> None:
    assert names_in(sql) is None


def test_columns_of_common_queries_are_found() -> None:
    sql = """
        with one as (select a, row_number() over (partition by b order by c desc nulls last) as n from s),
        two as (select d from s union all select E from t)
        select count(*) filter (where f), list(g order by h)[1], [i, 1], case when j in (1, 2) then -k end,
            l::date at time zone 'UTC', list_transform(m, lambda x: x + 1), exists(select 1 from t where o > 2)
        from one left join two using (p) cross join (select 1 as z)
        where not q is null group by all having max(r) > 1 limit 3"""
    names = names_in(sql)
    assert names is not None and names >= {*"abcdefghijklmopqr"}


def test_columns_of_the_shops_views_are_found() -> None:
    line = [*SHOP.tables[0].columns, "local_day"]
    read = {one.name: {*line} - {*part_read(line, columns_read(one))} for one in SHOP.feature_tables}
    assert read == {"customer_orders": set(), "item_sales": {"order_id", "channel", "line"}}


def test_a_reference_table_without_named_columns_is_read_whole() -> None:
    assert part_read(["id", "age"], columns_read(view(over()))) == ["id", "age"]


AT = datetime(2024, 3, 1, 12, tzinfo=UTC)
SALES = pa.table(
    {
        "shop": ["a"],
        "sold_at": pa.array([AT], pa.timestamp("us", "UTC")),
        "paid": [True],
        "local_day": [date(2024, 3, 1)],
    }
)


def test_a_view_is_built_from_its_known_columns_only() -> None:
    """So no column can affect it without a change of that column being noticed."""
    window = Window(date(2024, 3, 1), date(2024, 3, 3), "UTC")
    table = trailing(
        "v",
        ("shop",),
        Over(Events("sales", "sold_at"), {"n": since_last()}, within=A_DAY),
        every=timedelta(hours=1),
        rows="window",
    )
    assert feature_rows(SHOP, table, {"sales": SALES}, window).equals(
        feature_rows(SHOP, table, {"sales": SALES.drop_columns(["paid"])}, window)
    )
    with pytest.raises(InvalidInput, match='"nothing" not found'):
        feature_rows(SHOP, view(over(where="nothing")), {"sales": SALES}, window)
