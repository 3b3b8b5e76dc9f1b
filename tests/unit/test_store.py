import os
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import CorruptData, MissingData
from pipelines.store import Layout, Store
from pipelines.windows import Window

TABLE = pa.table({"a": [1, 2, 3], "b": ["x", None, "z"]})


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(str(tmp_path) if request.param == "local" else f"memory://{tmp_path}")


def test_written_rows_are_read_back(store: Store) -> None:
    uri = store.uri("folder", "table.parquet")
    digest = store.write_table(uri, TABLE)
    assert store.read_table(uri).equals(TABLE)
    assert store.write_table(uri, TABLE) == digest
    assert store.names(store.uri("folder")) == ["table.parquet"]
    store.delete(uri)
    assert not store.exists(uri)


def test_a_missing_file_is_named(store: Store) -> None:
    with pytest.raises(MissingData, match=r"nothing\.parquet does not exist"):
        store.read_table(store.uri("nothing.parquet"))


def test_a_truncated_file_is_named(store: Store) -> None:
    uri = store.uri("table.parquet")
    store.write_table(uri, TABLE)
    store.write_bytes(uri, store.read_bytes(uri)[:-20])
    with pytest.raises(CorruptData, match=r"table\.parquet is not a whole Parquet file"):
        store.read_table(uri)
    store.write_bytes(store.uri("x.json"), b"{")
    with pytest.raises(CorruptData, match=r"x\.json is not JSON"):
        store.read_json(store.uri("x.json"))


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(str(tmp_path))
    uri = store.uri("a.json")
    store.write_json(uri, 1)

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        store.write_json(uri, 2)
    assert store.read_json(uri) == 1


@given(st.lists(st.tuples(st.integers(-(2**40), 2**40), st.text(max_size=5)), max_size=30))
def test_the_same_rows_give_the_same_bytes(rows: list[tuple[int, str]]) -> None:
    store = Store("memory://bytes")
    table = pa.table(
        {"n": pa.array([n for n, _ in rows], pa.int64()), "s": pa.array([s for _, s in rows], pa.string())}
    )
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    assert store.write_table(store.uri("a"), table) == store.write_table(store.uri("b"), chunked)


def test_days_without_a_partition_are_named(store: Store) -> None:
    data = Layout(store, "toy")
    for day in (date(2024, 1, 1), date(2024, 1, 3)):
        store.write_table(data.partition("raw", "t", day), TABLE)
    assert data.periods("raw", "t") == [date(2024, 1, 1), date(2024, 1, 3)]
    assert data.read("raw", "t", Window(date(2024, 1, 3), date(2024, 1, 4), "UTC")).num_rows == 3
    with pytest.raises(MissingData, match=r"raw/t lacks 1 of the days .*first: 2024-01-02"):
        data.read("raw", "t", Window(date(2024, 1, 1), date(2024, 1, 4), "UTC"))


Rows = list[tuple[int | None, str | None]]
VALUES = st.lists(st.tuples(st.none() | st.integers(0, 3), st.none() | st.text(max_size=2)), max_size=6)


@given(VALUES, VALUES)
def test_the_digest_of_a_column_depends_on_its_values_in_order_only(one: Rows, other: Rows) -> None:
    first, second = (Store.column_digests(Store.encode(table_of(rows))) for rows in (one, other))
    for number, name in enumerate("ab"):
        assert (first[name] == second[name]) == ([row[number] for row in one] == [row[number] for row in other])
    alone = table_of(one).select(["b"]).append_column("c", pa.array(range(len(one)), pa.int64()))
    assert Store.column_digests(Store.encode(alone))["b"] == first["b"]


def test_the_digest_of_a_column_covers_its_type_and_ignores_bytes_under_missing_values() -> None:
    def digest(column: pa.Array) -> str:
        return Store.column_digests(Store.encode(pa.table({"a": column})))["a"]

    numbers = [pa.array([1, 2], kind) for kind in (pa.int32(), pa.date32(), pa.int64(), pa.timestamp("us", "UTC"))]
    assert len({digest(one) for one in numbers}) == 4
    under = [
        pa.Array.from_buffers(pa.int64(), 2, [pa.py_buffer(b"\x01"), pa.array([7, n]).buffers()[1]]) for n in (8, 9)
    ]
    assert under[0].equals(under[1]) and digest(under[0]) == digest(under[1])
    many = pa.array(range(3 * 2**20))
    assert digest(many) != digest(pa.concat_arrays([many[:-2], many[-1:], many[-2:-1]])), (
        "the digest covers all row groups"
    )


def table_of(rows: Rows) -> pa.Table:
    return pa.table(
        {"a": pa.array([one for one, _ in rows], pa.int64()), "b": pa.array([two for _, two in rows], pa.string())}
    )
