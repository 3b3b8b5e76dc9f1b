"""What `flightdeck features` shows of declared views."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.__main__ import main
from pipelines.artifacts.feature_report import FeatureProfile, ViewHealth
from pipelines.declare import Events, Over, count, share, trailing
from pipelines.features.check_health import beyond_declared
from pipelines.periods import A_DAY
from tests.conftest import ROOT


def run(home: Path, *words: str) -> int:
    return main(["features", "--params", str(ROOT / "examples/shop/params.yaml"), "--home", str(home), *words])


def output(capsys: pytest.CaptureFixture[str], home: Path, *words: str) -> str:
    assert run(home, *words) == 0
    return capsys.readouterr().out


def test_a_view_is_shown_with_what_reads_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    report = json.loads(output(capsys, tmp_path, "--json"))
    views, derived = report["views"], report["derived"]
    assert views["item_sales"]["known"] == "known as each day begins" and views["item_sales"]["lookback_days"] == 30
    assert views["item_sales"]["reads"] == {"lines": ["customer", "item", "pieces", "price", "ordered_at"]}
    features = {one["name"]: one for view in views.values() for one in view["features"]}
    assert features["price_28d"]["services"] == ["order_again_v1"], "read through the features derived from it"
    assert features["basket_30d"]["services"] == [] and features["orders_30d"]["low"] == 0
    assert derived["days_since_order"] == "predicted_at, last_order_at"


def test_the_default_output_is_a_table(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    shown = output(capsys, tmp_path, "customer_orders")
    assert "known whenever a value changes; never expires" in shown and "mean amount of orders by ordered_at" in shown
    assert "item_sales" not in shown and "of lines (order_id, customer, channel, item" in " ".join(shown.split())


def test_an_unknown_view_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(tmp_path, "items") == 2
    assert "shop has no feature table items; choose from customer_orders, item_sales" in capsys.readouterr().err


def test_values_outside_the_possible_range_of_a_feature_are_reported() -> None:
    over = Over(Events("rows", "at"), {"n": count(), "part": share("x > 1")}, within=A_DAY)
    view = trailing("v", ("k",), over)
    assert [*beyond_declared(health_of({"n": (-1, 5), "part": (0, 1.5)}), view.features)] == [
        "n is -1, and by its declaration (count of rows by at, last 1d) at least 0",
        "part is 1.5, and by its declaration (share x > 1 of rows by at, last 1d) at most 1",
    ]
    assert not [*beyond_declared(health_of({"n": (0, 5), "part": (0, 1)}), view.features)]


def health_of(ranges: dict[str, tuple[float, float]]) -> ViewHealth:
    features = {name: FeatureProfile(null_rate=0, min=low, max=high) for name, (low, high) in ranges.items()}
    return ViewHealth(
        entities=1,
        stale_entities=0,
        stale_share=0,
        ttl_hours=None,
        newest=None,
        newest_age_hours=1,
        rows=1,
        rows_a_day=1,
        entities_a_day=1,
        reference_rows=0,
        features=features,
        metrics={},
        worst={},
    )
