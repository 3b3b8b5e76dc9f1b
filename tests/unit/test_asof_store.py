"""Point-in-time joins of our offline store against a brute-force reference, through Feast's own interface."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, String
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.errors import MissingData
from pipelines.offline.repository import open_store
from pipelines.settings import Settings
from pipelines.store import Layout, Store

ORIGIN = datetime(2024, 1, 1, tzinfo=UTC)
TTL = timedelta(hours=6)
HOURS = st.integers(0, 72)
KEYS = st.sampled_from(["a", "b", None])


@pytest.fixture(scope="module")
def feast(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    home = tmp_path_factory.mktemp("feast")
    store = open_store(Settings(home=home), "hypo")
    key = Entity(name="key", join_keys=["key"], value_type=ValueType.STRING)
    schema = [Field(name="key", dtype=String), Field(name="value", dtype=Float64)]

    def view(name: str, ttl: timedelta, created: str) -> FeatureView:
        source = FileSource(name=name, path="features/v", timestamp_field="known_at", created_timestamp_column=created)
        return FeatureView(name=name, entities=[key], ttl=ttl, schema=schema, source=source)

    store.apply([key, view("short", TTL, "created"), view("forever", timedelta(0), "created")])
    return store


def write(store: FeatureStore, rows: list[tuple[str | None, int, int, float | None]]) -> pd.DataFrame:
    """Feature rows (key, hour known, hour created, value) as daily partitions."""
    data = Layout(Store(store.config.offline_store.root), "hypo")
    data.store.delete(data.uri("features"))
    frame = pd.DataFrame(rows, columns=["key", "hour", "order", "value"]).astype({"value": "float64"})
    frame["known_at"] = pd.to_datetime([ORIGIN + timedelta(hours=h) for h in frame.hour], utc=True)
    frame["created"] = pd.to_datetime([ORIGIN + timedelta(hours=h) for h in frame.order], utc=True)
    columns = ["key", "known_at", "created", "value"]
    schema = pa.schema(
        [
            ("key", pa.string()),
            ("known_at", pa.timestamp("us", "UTC")),
            ("created", pa.timestamp("us", "UTC")),
            ("value", pa.float64()),
        ]
    )
    for day in pd.date_range(ORIGIN, periods=4, freq="D"):
        part = frame[frame.known_at.dt.floor("D") == day]
        table = pa.Table.from_pandas(part[columns], schema=schema, preserve_index=False)
        data.store.write_table(data.partition("features", "v", day.date()), table)
    return frame


def reference(frame: pd.DataFrame, key: str | None, at: datetime, ttl: timedelta) -> float | None:
    """The value of the latest row known at `at`, the last created one of a tie; None where it is too old or null."""
    rows = frame[(frame.key == key) & (frame.known_at <= at)] if key is not None else frame[:0]
    if rows.empty:
        return None
    row = rows.sort_values(["known_at", "order"]).iloc[-1]
    expired = bool(ttl) and at - row.known_at > ttl
    return None if expired or pd.isna(row.value) else float(row.value)


def historical(store: FeatureStore, view: str, entities: pd.DataFrame) -> list[Any]:
    frame = store.get_historical_features(entity_df=entities, features=[f"{view}:value"]).to_df()
    assert list(frame.note) == list(entities.note)  # order and extra columns are kept
    return [None if pd.isna(value) else value for value in frame.value]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(KEYS, HOURS, st.integers(0, 5), st.none() | st.floats(-1e6, 1e6)),
        min_size=1,
        max_size=25,
        unique_by=lambda row: row[:3],
    ),
    asked=st.lists(st.tuples(KEYS, HOURS), min_size=1, max_size=12),
)
def test_joins_equal_the_reference(
    feast: FeatureStore, rows: list[tuple[str | None, int, int, float | None]], asked: list[tuple[str | None, int]]
) -> None:
    frame = write(feast, rows)
    instants = [ORIGIN + timedelta(hours=hour) for _, hour in asked]
    entities = pd.DataFrame({"key": [key for key, _ in asked], "event_timestamp": pd.to_datetime(instants, utc=True)})
    entities["note"] = range(len(asked))
    for view, ttl in (("short", TTL), ("forever", timedelta(0))):
        expected = [reference(frame, key, at, ttl) for (key, _), at in zip(asked, instants, strict=True)]
        assert historical(feast, view, entities) == expected


def test_the_latest_rows_are_one_a_key(feast: FeatureStore) -> None:
    write(feast, [("a", 1, 0, 1.0), ("a", 5, 0, 5.0), ("a", 5, 1, 5.5), ("a", 30, 0, 30.0), ("b", 2, 0, None)])
    source = feast.get_feature_view("short").batch_source
    kind = type(feast._get_provider().offline_store)  # type: ignore[attr-defined]
    job = kind.pull_latest_from_table_or_query(
        feast.config, source, ["key"], ["value"], "known_at", "created", ORIGIN, ORIGIN + timedelta(hours=24)
    )
    assert job.to_df().set_index("key").value.to_dict() == pytest.approx({"a": 5.5, "b": float("nan")}, nan_ok=True)


def test_an_empty_source_is_an_error_not_an_empty_join(feast: FeatureStore, tmp_path: Path) -> None:
    data = Layout(Store(feast.config.offline_store.root), "hypo")
    data.store.delete(data.uri("features"))
    entities = pd.DataFrame({"key": ["a"], "event_timestamp": [pd.Timestamp(ORIGIN)]})
    with pytest.raises(MissingData, match="features/v holds nothing"):
        feast.get_historical_features(entity_df=entities, features=["short:value"]).to_df()
