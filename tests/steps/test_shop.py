"""The example of a shop, through the chain: its features are those of a loop over its till's export."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from examples.shop import USECASE
from examples.shop.generate import lines, write
from pipelines.context import Context, build_context
from pipelines.derivation.staleness import stale_features
from pipelines.steps import execute
from pipelines.usecase import FeatureTable
from tests.conftest import ROOT, run_data, run_training

START, END = date(2024, 1, 1), date(2024, 9, 1)
CUSTOMERS = 700
DAYS = pd.Timedelta(days=1)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """The shop after its data and training chains."""
    folder = tmp_path_factory.mktemp("shop")
    write(folder / "export", CUSTOMERS)
    params = (ROOT / "examples" / "shop" / "params.yaml").read_text().replace("var/shop", f"{folder}/export")
    (folder / "shop.yaml").write_text(params)
    context = build_context(folder / "shop.yaml", folder / "home")
    run_data(context, START, END)
    return context


@pytest.fixture(scope="module")
def trained(shop: Context) -> dict[str, Any]:
    return run_training(shop, date(2024, 8, 1), "first", "none")


def test_the_example_is_short() -> None:
    """What a team writes to put such a table in, params included: the bar is 80 lines."""
    written = [(ROOT / "examples" / "shop" / name).read_text() for name in ("__init__.py", "params.yaml")]
    assert sum(bool(line.strip()) for text in written for line in text.splitlines()) <= 80


@pytest.fixture(scope="module")
def export() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Lines and orders as the till exports them; local times, with the instant at which each is known."""
    rows = lines(CUSTOMERS)
    rows["known"] = rows.Zeit.dt.tz_localize("Europe/Berlin") + pd.Timedelta(minutes=1)
    orders = rows.assign(amount=rows.Menge * rows.Preis).groupby("Bestellung").agg(
        customer=("Kunde", "first"), known=("known", "first"), amount=("amount", "sum"), items=("Artikel", list)
    )  # fmt: skip
    return rows, orders


def test_features_of_customers_equal_a_loop_over_the_export(
    trained: dict[str, Any], export: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    folder = Path(trained["build_training_set"]["training_set_uri"])
    parts = [pd.read_parquet(folder / f"{part}.parquet") for part in ("train", "validation", "test")]
    sample = pd.concat(parts).sample(120, random_state=3)
    orders = export[1]
    assert sample.days_since_order.isna().any() and (sample.orders_90d > 3).any() and sample["items"].map(len).max() > 3
    for row in sample.to_dict("records"):
        at = row["predicted_at"]
        own = orders[(orders.customer == row["customer"]) & (orders.known <= at)]
        if own.empty:  # a customer of whom nothing is known has no row
            assert all(np.isnan(row[name]) for name in ("orders_30d", "days_since_order", "amount_to_basket"))
            continue
        recent = own[own.known > at - 90 * DAYS]
        assert row["orders_30d"] == (own.known > at - 30 * DAYS).sum() and row["orders_90d"] == len(recent)
        assert row["spent_90d"] == pytest.approx(recent.amount.sum(), rel=1e-5)
        since, ratio = (at - recent.known.max() + pd.Timedelta(minutes=1)) / DAYS, row["amount"] / recent.amount.mean()
        assert row["days_since_order"] == pytest.approx(since, rel=1e-5, nan_ok=True)
        assert row["amount_to_basket"] == pytest.approx(ratio, rel=1e-5, nan_ok=True)


def test_features_of_a_basket_equal_a_loop_over_its_items(
    trained: dict[str, Any], export: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    folder, sold = Path(trained["build_training_set"]["training_set_uri"]), export[0]
    sample = pd.read_parquet(folder / "train.parquet").sample(80, random_state=5)
    for row in sample.to_dict("records"):
        day = row["predicted_at"].tz_convert("Europe/Berlin").normalize()
        month = sold[(sold.known < day) & (sold.known >= day - pd.DateOffset(days=28))]
        known = [month[month.Artikel == item] for item in row["items"] if has_row(sold, item, day)]
        wanted = {
            "items_sold": np.mean([of.Menge.sum() for of in known]) if known else np.nan,
            "most_buyers": max((of.Kunde.nunique() for of in known), default=np.nan),
            "dearest_item": max((of.Preis.mean() for of in known if len(of)), default=np.nan),
        }
        assert {name: row[name] for name in wanted} == pytest.approx(wanted, rel=1e-5, nan_ok=True)


def has_row(sold: pd.DataFrame, item: str, day: pd.Timestamp) -> bool:
    """Whether an item was ever sold before a day began: from then on it has a row, if one that counts nothing."""
    return bool((sold.known[sold.Artikel == item] < day).any())


def test_labels_equal_a_loop_over_the_export(
    trained: dict[str, Any], export: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    folder = Path(trained["build_training_set"]["training_set_uri"])
    test = pd.read_parquet(folder / "test.parquet").sample(200, random_state=1)
    orders = export[1]
    for row in test.to_dict("records"):
        at = row["predicted_at"] + pd.Timedelta(minutes=1)
        later = orders[(orders.customer == row["customer"]) & (orders.known > at)].known
        assert row["label"] == float((later < at + 30 * DAYS).any())


def test_the_model_beats_chance_and_is_registered(shop: Context, trained: dict[str, Any]) -> None:
    assert trained["gate"]["verdict"] == "PASS" and [one.version for one in shop.models.versions()] == ["1"]


def test_a_changed_declaration_is_noticed(shop: Context) -> None:
    assert {one.name for one in shop.feast.list_feature_views()} == {"customer_orders", "item_sales"}
    assert not stale_features(shop)
    customer, item = USECASE.feature_tables
    usecase = type(USECASE)()
    changed: tuple[FeatureTable, ...] = (customer, replace(item, lookback_days=40))
    usecase.feature_tables = changed  # type: ignore[misc]
    later = replace(shop, usecase=usecase)
    assert len(stale_features(later)) == (END - START).days
    outputs = execute("build_features", {"start": str(START), "end": str(START + timedelta(40))}, later)
    assert outputs["rows"]["customer_orders"] > 500 and len(stale_features(later)) == (END - START).days - 40
