"""Columns of stored features equal the rows of the online store, and a cached row never outlives its change."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from feast import FeatureStore, ValueType
from hypothesis import given
from hypothesis import strategies as st

from pipelines.declare.reading import Stored, StoredFeature
from pipelines.errors import InvalidInput
from pipelines.instants import micros
from pipelines.offline.ingredients import as_ingredient
from pipelines.online import OnlineReader
from pipelines.online.codec import decode_value, encode_column
from pipelines.online.columns import ColumnReader, Wanted, _exact
from pipelines.online.opening import open_rows
from pipelines.online.rows import EncodedRows, OnlineView, Span
from pipelines.serving.derived import _instants
from tests.examples import costly
from tests.redis_fixtures import redis_server  # noqa: F401
from tests.unit.test_online_rows import AT, END, make, place, put_rows, rows, write  # noqa: F401

NUMBERS, TEXTS = ("f", "d", "i"), ("s", "j")
LIFE = timedelta(hours=6)


def reader(store: FeatureStore, ttl: timedelta | None = LIFE) -> ColumnReader:
    return ColumnReader(store, [Wanted("typed", NUMBERS, TEXTS, ttl), Wanted("alone", ("f",), (), None)])


def columns(entities: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [entity[name] for entity in entities] for name in ("key", "shop")}


def push(store: FeatureStore, key: str, shop: int, value: float, at: datetime) -> None:
    """Push a row as another process does."""
    other = make(Path(store.config.offline_store.root), _place(store))
    table = rows(1).slice(0, 1).to_pylist()[0] | {"key": key, "shop": shop, "f": value, "at": at}
    view = other.get_feature_view("typed")
    encoded = EncodedRows.of(view, pa.Table.from_pylist([table], schema=rows(1).schema), [micros(at)], [None])
    open_rows(other).push(OnlineView.of(view), encoded)


def _place(store: FeatureStore) -> str:
    online: Any = store.config.online_store
    if online.type != "redis":
        return str(online.path)
    return str(store.__dict__["_tests_place"])


@pytest.fixture
def store(tmp_path: Path, place: str) -> FeatureStore:  # noqa: F811
    online_store = make(tmp_path, place)
    online_store.__dict__["_tests_place"] = place
    put_rows(online_store, rows(6))
    write(online_store)
    return online_store


def test_columns_equal_rows(store: FeatureStore) -> None:
    entities = [{"key": f"k{n % 3}", "shop": n} for n in range(6)]
    entities += [{"key": "k9", "shop": 0}, {"key": None, "shop": 0}, entities[0]]
    at = AT + timedelta(hours=5, minutes=57)  # the ttl of some has passed
    rows = OnlineReader(store, [f"typed:{name}" for name in (*NUMBERS, *TEXTS)], {"typed": LIFE}).read(entities, at)
    typed = reader(store).read(columns(entities), len(entities), micros(at))
    for n, row in enumerate(rows):
        numbers = [row.values[name] for name in NUMBERS]
        finite = [np.nan if value is None or not np.isfinite(value) else value for value in numbers]
        np.testing.assert_array_equal(typed.numbers[n, : len(NUMBERS)], np.array(finite, dtype=np.float32))
        assert typed.texts[n].tolist() == ["" if row.values[name] is None else str(row.values[name]) for name in TEXTS]
        ages = {age.total_seconds() for age in row.ages.values() if age is not None}
        np.testing.assert_array_equal(typed.seconds[n, 0], ages.pop() if ages else np.nan)
        assert not ages, "a row has one age"
        assert typed.stale[n, 0] == (typed.seconds[n, 0] > LIFE.total_seconds())
    assert typed.stale[:, 0].any() and not typed.stale[:, 0].all()


def test_a_kept_row_does_not_outlive_a_push_or_a_materialization_of_another_process(store: FeatureStore) -> None:
    held, one = reader(store), columns([{"key": "k0", "shop": 0}])
    at = micros(AT + timedelta(hours=1))

    def number() -> float:
        return float(held.read(one, 1, at).numbers[0, 0])

    assert number() == number() == np.float32(0.1)
    for value in (2.0, 3.0):
        push(store, "k0", 0, value, AT)
        assert number() == value
    write(store, Span(None, END, True))
    assert number() == np.float32(0.1)


def test_rows_are_read_once_until_something_changes(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    held, reads = reader(store), []
    get = held._rows.get

    def noted(lookups: Any) -> Any:
        reads.append(lookups)
        return get(lookups)

    monkeypatch.setattr(held._rows, "get", noted)
    monkeypatch.setattr("pipelines.online.redis.REREAD", 1e9)
    for entities in ([0, 1], [1, 0], [0, 1, 2]):
        held.read(columns([{"key": f"k{n}", "shop": n} for n in entities]), len(entities), micros(AT))
    assert [[len(keys) for _, keys in lookups] for lookups in reads] == [[2, 1], [1]]


def fetch_sizes(held: ColumnReader, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Records how many rows of each view every later fetch requests."""
    fetched: list[list[int]] = []
    get = held._rows.get

    def noted(lookups: Any) -> Any:
        fetched.append([len(keys) for _, keys in lookups])
        return get(lookups)

    monkeypatch.setattr(held._rows, "get", noted)
    return fetched


def test_a_push_drops_its_own_entities_and_an_unknown_change_drops_all(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.online.redis.REREAD", 1e9)
    held = reader(store)
    three = columns([{"key": f"k{n}", "shop": n} for n in range(3)])

    def read() -> list[float]:
        return [*map(float, held.read(three, 3, micros(AT)).numbers[:, 0])]

    before = read()
    fetched = fetch_sizes(held, monkeypatch)
    push(store, "k1", 1, 7.0, AT)
    assert read() == [before[0], 7.0, before[2]] and fetched == [[1]]
    push(store, "k8", 8, 1.0, AT)
    assert read() == [before[0], 7.0, before[2]] and fetched == [[1]], "the entity is not cached"
    write(store, Span(None, END, True))
    assert str(read()) == str(before) and fetched == [[1], [3, 1]], "a materialization may have removed any row"
    for kept in ("pipelines.online.changes.KEPT", "pipelines.online.redis.KEPT"):
        monkeypatch.setattr(kept, 1)
    for key in ("k0", "k2"):
        push(store, key, int(key[1]), 9.0, AT)
    assert str(read()) == str([9.0, before[1], 9.0]) and fetched == [[1], [3, 1], [3, 1]], (
        "the reader has missed a change"
    )
    if "sqlite" in store.config.online_store.type:
        with sqlite3.connect(store.config.online_store.path) as other:
            other.execute(f"delete from {store.config.project}_typed")
        assert np.isnan(read()).all() and fetched == [[1], *[[3, 1]] * 3], "the store was changed by other means"


def test_the_number_of_unknown_entities_kept_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.online.columns.MOST", 50)
    held = reader(make(tmp_path, str(tmp_path / "online.db")))
    for n in range(0, 1000, 10):
        held.read(columns([{"key": f"unknown {k}", "shop": k} for k in range(n, n + 10)]), 10, micros(AT))
        assert sum(len(group.places) + len(group.keys_of) for group in held._groups) < 200


def test_the_row_of_a_view_without_entities_is_dropped_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make(tmp_path, str(tmp_path / "online.db"))
    held = reader(store)
    view = store.get_feature_view("alone")

    def push_alone(value: float) -> None:
        row = {**rows(1).to_pylist()[0], "f": value}
        encoded = EncodedRows.of(view, pa.Table.from_pylist([row], schema=rows(1).schema), [micros(AT)], [None])
        open_rows(make(tmp_path, _place(store))).push(OnlineView.of(view), encoded)

    for value in (1.0, 2.0):
        push_alone(value)
        read = held.read({"key": [], "shop": []} | columns([{"key": "k0", "shop": 0}]), 1, micros(AT))
        assert read.numbers[0, held.numbers.index("alone:f")] == value


@costly()
@given(
    st.lists(st.tuples(st.sampled_from(["push", "read"]), st.integers(0, 2), st.floats(0, 9, width=32)), max_size=12)
)
def test_a_read_after_any_pushes_gives_the_last_one(store: FeatureStore, todo: list[tuple[str, int, float]]) -> None:
    held, last = reader(store), dict.fromkeys(range(3), 0.0)
    for shop in last:
        push(store, "k7", shop, 0.0, AT)
    for what, shop, value in todo:
        if what == "push":
            push(store, "k7", shop, value, AT)
            last[shop] = value
        else:
            typed = held.read(columns([{"key": "k7", "shop": shop}]), 1, micros(AT))
            assert typed.numbers[0, 0] == np.float32(last[shop])


def test_a_key_that_is_absent_or_of_another_type_is_refused(store: FeatureStore) -> None:
    with pytest.raises(InvalidInput, match="requests lack the key 'shop'"):
        reader(store).read({"key": ["k0"]}, 1, 0)
    with pytest.raises(InvalidInput, match="key shop: 'x' is no INT64"):
        reader(store).read({"key": ["k0"], "shop": ["x"]}, 1, 0)


def test_exact_numbers_keep_their_digits_and_age_like_others(store: FeatureStore) -> None:
    view = "typed"
    exact = ColumnReader(store, [Wanted(view, ("d",), (), LIFE, ("j", "d", "f", "b"))])
    assert exact.exacts == ("typed:j", "typed:d", "typed:f", "typed:b") and exact.numbers == ("typed:d",)
    entities = columns([{"key": "k0", "shop": 0}, {"key": "k1", "shop": 1}, {"key": None, "shop": 1}])
    read = exact.read(entities, 3, micros(AT))
    expected = [[2.0**40, 0.1, float(np.float32(0.1)), 1.0], [np.nan] * 4, [np.nan] * 4]
    np.testing.assert_array_equal(read.exacts, expected)
    assert read.numbers[0, 0] == np.float32(0.1) and read.part(1, 3).exacts.shape == (2, 4)
    stale = exact.read(entities, 3, micros(AT + LIFE + timedelta(seconds=1)))
    assert np.isnan(stale.exacts).all() and stale.stale[0, 0]
    assert exact.nothing(2).exacts.shape == (2, 4) and reader(store).nothing(2).exacts.shape == (2, 0)


@given(st.lists(st.none() | st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)), min_size=1, max_size=5))
def test_a_stored_instant_is_the_same_online_and_offline(instants: list[datetime | None]) -> None:
    """In whole seconds, as Feast stores them, also before 1970."""
    column = pa.chunked_array([pa.array(instants, pa.timestamp("us", "UTC"))])
    values, _ = encode_column(column, ValueType.UNIX_TIMESTAMP)
    online = np.array([_exact(decode_value(value), "at") for value in values])
    feature = StoredFeature("v", "at", Stored.INSTANT, ())
    offline = as_ingredient(column.to_pandas(), feature)
    np.testing.assert_array_equal(_instants(online), offline)
    assert offline.dtype == _instants(online).dtype == "datetime64[us]"
