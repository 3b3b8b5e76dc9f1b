"""The flights' features built in pieces of a few days equal those built at once, byte for byte."""

from __future__ import annotations

import pytest

from pipelines.context import Context
from pipelines.declare.views import rests_on_earlier_days
from pipelines.features import build
from pipelines.steps import execute
from tests.conftest import tree_hashes
from tests.services import thorough

WINDOW = {"start": "2013-03-09", "end": "2013-04-08"}  # the clocks change, and 28 days fit in before the end


@thorough
def test_features_built_in_pieces_have_the_same_bytes(flights: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in ("ingest", "validate", "build_features"):
        execute(step, WINDOW, flights)
    features = flights.settings.root / "data" / "flights" / "features"
    whole = tree_hashes(features)
    daily = sum(table.daily for table in flights.usecase.feature_tables)
    of_the_next_day = sum(map(rests_on_earlier_days, flights.usecase.feature_tables))
    assert len(whole) == 30 * daily + of_the_next_day + len(flights.usecase.feature_tables) - daily
    flights.data.store.delete(flights.data.uri("features"))
    monkeypatch.setattr(build, "MOST_ROWS", 28_000)
    execute("build_features", WINDOW, flights)
    assert tree_hashes(features) == whole
