"""We write into online stores what Feast would write, byte for byte, and read what Feast reads."""

from __future__ import annotations

import contextlib
import io
import sqlite3
import struct
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.types import Bool, Bytes, Float32, Float64, Int32, Int64, String
from feast.utils import _columns_to_proto_values
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import InvalidInput
from pipelines.features.deltas import OnlineState
from pipelines.features.materialize import _write
from pipelines.offline.repository import open_store
from pipelines.online import OnlineReader
from pipelines.online.codec import EntityKeys, decode_value, encode_column
from pipelines.online.opening import open_rows
from pipelines.online.places import UTC_SQLITE, online_store
from pipelines.online.rows import EncodedRows, OnlineView, Span
from pipelines.settings import Settings
from pipelines.store import Layout, Store
from tests.redis_fixtures import redis_server  # noqa: F401
from tests.services import thorough

DAY = date(2024, 3, 10)
AT = datetime(2024, 3, 10, 2, 30, 0, 250_000, tzinfo=UTC)  # New York's clocks skip 02:30 on this day
END = datetime(2024, 3, 11, tzinfo=UTC)
TYPES = {"key": String, "shop": Int64, "f": Float32, "d": Float64, "i": Int32, "j": Int64, "s": String, "b": Bool}
FEATURES = ["f", "d", "i", "j", "s", "b"]
Makes = Callable[..., FeatureStore]


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=thorough)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "online.db")
    address: str = request.getfixturevalue("redis_server")
    client = open_rows(make(tmp_path / "probe", address))._redis  # type: ignore[attr-defined]
    client.flushall()
    return address


def make(home: Path, place: str, project: str = "shops") -> FeatureStore:
    """A store with a view of two keys and every type, and one without entities."""
    store = open_store(Settings(home=home, feast_online=place), project)
    key = Entity(name="key", join_keys=["key"], value_type=ValueType.STRING)
    shop = Entity(name="shop", join_keys=["shop"], value_type=ValueType.INT64)

    def view(name: str, entities: list[Entity]) -> FeatureView:
        schema = [Field(name=entity.join_key, dtype=TYPES[entity.join_key]) for entity in entities]
        schema += [Field(name=feature, dtype=TYPES[feature]) for feature in FEATURES]
        source = FileSource(name=name, path="features/rows", timestamp_field="at", created_timestamp_column="created")
        return FeatureView(name=name, entities=entities, ttl=timedelta(hours=6), schema=schema, source=source)

    store.apply([key, shop, view("typed", [shop, key]), view("alone", [])])
    return store


def rows(number: int = 4) -> pa.Table:
    """Rows of several entities, with empty values, and one without a key."""
    some: list[dict[str, object]] = [
        {"f": 0.1, "d": 0.1, "i": -3, "j": 2**40, "s": "ü", "b": True},
        {"f": float("nan"), "d": float("inf")},
    ]
    lines = [
        {"key": f"k{n % 3}", "shop": n, "at": AT - timedelta(minutes=n), "created": AT, **some[n % 2]}
        for n in range(number)
    ]
    lines += [
        {"key": None, "shop": 1, "at": AT, "f": 1.0},
        {"key": "", "shop": 5, "at": AT - timedelta(hours=1), "created": AT, "b": False},
    ]
    arrow = {String: pa.string(), Int64: pa.int64(), Int32: pa.int32(), Float32: pa.float32(), Float64: pa.float64()}
    schema = [(name, arrow.get(kind, pa.bool_())) for name, kind in TYPES.items()]
    schema += [(name, pa.timestamp("us", "UTC")) for name in ("at", "created")]
    return pa.Table.from_pylist(lines, schema=pa.schema(schema))


def put_rows(store: FeatureStore, table: pa.Table) -> None:
    data = Layout(Store(store.config.offline_store.root), store.project)
    data.store.write_table(data.partition("features", "rows", DAY), table)


def materialize(store: FeatureStore) -> None:
    """As Feast does it."""
    with contextlib.redirect_stdout(io.StringIO()):
        store.materialize(start_date=END - timedelta(days=2), end_date=END)


def write(store: FeatureStore, span: Span | None = None) -> None:
    """As our step does it."""

    class Ours:
        feast = store

    for view in store.list_feature_views():
        _write(Ours(), open_rows(store), view, span or Span(None, END, True), OnlineState(END, {}))  # type: ignore[arg-type]


def dump(store: FeatureStore) -> Any:
    """Everything in an online store, except our notes."""
    held: Any = open_rows(store)
    if hasattr(held, "_redis"):
        return {key: held._redis.hgetall(key) for key in sorted(held._redis.keys("*")) if b"flightdeck" not in key}
    tables = [f"{store.project}_{view.name}" for view in store.list_feature_views()]
    columns = "entity_key, feature_name, value, value_text, event_ts + 0, created_ts + 0"
    return {name: sorted(held._connection.execute(f"select {columns} from {name}").fetchall()) for name in tables}


@contextlib.contextmanager
def in_zone(name: str) -> Iterator[None]:
    """The process in a time zone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", name)
        time.tzset()
        try:
            yield
        finally:
            patch.undo()
            time.tzset()


@pytest.fixture(params=["UTC", "America/New_York", "Asia/Kathmandu"])
def zone(request: pytest.FixtureRequest) -> Iterator[str]:
    """The machine's time zone."""
    with in_zone(request.param):
        yield request.param


def test_our_rows_equal_those_of_feast_byte_for_byte(place: str, tmp_path: Path, zone: str) -> None:
    held = []
    for way in (materialize, write):
        store = make(tmp_path / way.__name__, place)
        if hasattr(client := open_rows(store), "_redis"):
            client._redis.flushall()
        elif way is write:
            Path(place).unlink()
            store = make(tmp_path / "anew", place)
        # Feast fails on an empty key, and for a view without entities it keeps the last row written.
        put_rows(store, rows().filter(pa.compute.is_valid(rows()["key"])).sort_by("at"))
        way(store)
        held.append(dump(store))
    assert held[0] and held[0] == held[1]


def test_we_read_what_feast_reads(place: str, tmp_path: Path, zone: str) -> None:
    store = make(tmp_path, place)
    put_rows(store, rows())
    write(store)
    entities = [{"key": f"k{n % 3}", "shop": n} for n in range(6)] + [{"key": "", "shop": 5}]
    ours = OnlineReader(store, [f"typed:{name}" for name in FEATURES]).read(entities, AT + timedelta(hours=1))
    feasts = store.get_online_features([f"typed:{name}" for name in FEATURES], entities).to_dict()
    assert [dict(row.values) for row in ours] == [{n: feasts[n][row] for n in FEATURES} for row in range(len(entities))]
    assert ours[0].values == {"f": pytest.approx(0.1), "d": 0.1, "i": -3, "j": 2**40, "s": "ü", "b": True}
    assert ours[4].values == dict.fromkeys(FEATURES) == ours[4].ages
    (alone,) = OnlineReader(store, ["alone:d", "alone:s"]).read([{}], AT + timedelta(hours=1))
    assert alone.values == {"d": 0.1, "s": "ü"}, "among the newest rows, one with a created timestamp is kept"


INSTANTS = [
    AT,
    datetime(2024, 11, 3, 5, 30, 0, 1, tzinfo=UTC),  # New York's clocks show 01:30 twice on this day
    datetime(2024, 11, 3, 6, 30, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
]


@pytest.mark.parametrize("zoned", [True, False])
def test_instants_do_not_depend_on_the_time_zone_of_the_process(place: str, tmp_path: Path, zoned: bool) -> None:
    store = make(tmp_path, place)
    cells = {"f": 0.5, "d": 0.5, "i": 1, "j": 1, "s": "x", "b": True}
    stamps = [pd.Timestamp(at) if zoned else pd.Timestamp(at).tz_localize(None) for at in INSTANTS]
    pushed = [{"key": f"k{n}", "shop": n, "at": at, "created": at, **cells} for n, at in enumerate(stamps)]
    with in_zone("Asia/Kathmandu"):
        store.write_to_online_store("typed", df=pd.DataFrame(pushed))  # an instant without a zone is in UTC, as offline
    entities = [{"key": f"k{n}", "shop": n} for n in range(len(INSTANTS))]
    for name in ("America/New_York", "UTC"):
        with in_zone(name):
            rows = OnlineReader(make(tmp_path, place), ["typed:d"]).read(entities, END)
            assert [END - row.ages["d"] for row in rows if row.ages["d"]] == INSTANTS
            if "://" not in place:
                view, online = store.get_feature_view("typed"), store._get_provider().online_store
                keys = [EntityKey(join_keys=["key", "shop"], entity_values=_values(row)) for row in entities]
                assert [at for at, _ in online.online_read(store.config, view, keys, ["d"])] == INSTANTS


def update(store: FeatureStore) -> None:
    """Create an online store's tables, as `apply` does."""
    store._get_provider().online_store.update(store.config, [], store.list_feature_views(), [], [], False)


def _values(row: dict[str, Any]) -> list[Any]:
    from feast.protos.feast.types.Value_pb2 import Value

    return [Value(string_val=row["key"]), Value(int64_val=row["shop"])]


def test_a_file_in_the_convention_of_feast_is_refused_until_it_is_materialized(tmp_path: Path) -> None:
    store, place = make(tmp_path, str(tmp_path / "online.db")), tmp_path / "online.db"
    put_rows(store, rows())
    write(store)
    expected = dump(store)
    place.unlink()
    config = store.config.model_copy(update={"online_config": {"type": "sqlite", "path": str(place)}})
    config._online_store = None
    old = FeatureStore(config=config)
    update(old)
    store = make(tmp_path / "anew", str(place))  # an empty store can be taken over without loss
    assert dump(store) == {name: [] for name in expected}
    with sqlite3.connect(place) as connection:
        for name in expected:
            connection.execute(f"drop table {name}")
    update(old)
    put_rows(old, rows().filter(pa.compute.is_valid(rows()["key"])).sort_by("at"))
    materialize(old)

    store = make(tmp_path / "other", str(place))
    put_rows(store, rows())
    view, keys = store.get_feature_view("typed"), [{"key": "k0", "shop": 0}]
    attempts: list[Callable[[], Any]] = [
        lambda: OnlineReader(store, ["typed:d"]).read(keys, AT),
        lambda: store.get_online_features(["typed:d"], keys),
        lambda: store.write_to_online_store("typed", df=rows(1).slice(0, 1).to_pandas()),
        lambda: open_rows(store).push(OnlineView.of(view), EncodedRows.of(view, rows(1).slice(0, 1), [0], [None])),
    ]
    for attempt in attempts:
        with pytest.raises(InvalidInput, match=r"online\.db: shops_typed .* run `flightdeck materialize`"):
            attempt()
    assert open_rows(store).read_note("typed") is None
    write(store)
    assert dump(store) == expected


def test_a_value_lives_as_long_as_its_ttl(place: str, tmp_path: Path) -> None:
    store = make(tmp_path, place)
    put_rows(store, rows(1))
    write(store)
    known, reader, entities = AT, OnlineReader(store, ["typed:d"]), [{"key": "k0", "shop": 0}]
    for age, fresh in ((timedelta(0), True), (timedelta(hours=6), True), (timedelta(hours=6, microseconds=1), False)):
        (row,) = reader.read(entities, known + age)
        assert (row.values["d"], row.ages["d"]) == (0.1 if fresh else None, age)
    (early,) = reader.read(entities, known - timedelta(microseconds=1))
    assert early.values["d"] is None and early.ages["d"] == timedelta(microseconds=-1)
    (longer,) = OnlineReader(store, ["typed:d"], {"typed": timedelta(0)}).read(entities, known + timedelta(days=900))
    assert longer.values["d"] == 0.1
    (keyless,) = reader.read([{"key": None, "shop": 0}], known)
    assert (keyless.values["d"], keyless.ages["d"]) == (None, None)
    with pytest.raises(InvalidInput, match="lack the key 'shop' of typed"):
        reader.read([{"key": "k0"}], known)
    with pytest.raises(InvalidInput, match="key shop: 'one' is no INT64"):
        reader.read([{"key": "k0", "shop": "one"}], known)
    with pytest.raises(InvalidInput, match=r"typed has no features \['gone'\]"):
        OnlineReader(store, ["typed:gone"])


def test_rows_within_a_span_are_replaced_and_later_ones_kept(place: str, tmp_path: Path) -> None:
    store, later = make(tmp_path, place), END + timedelta(hours=1)
    put_rows(store, rows(4))
    write(store)
    pushed = rows(1).set_column(8, "at", pa.array([later] * 3, pa.timestamp("us", "UTC"))).slice(0, 1).to_pandas()
    store.write_to_online_store("typed", df=pushed)
    put_rows(store, rows(2))  # the entities k2/2 and k0/3 are gone
    reader = OnlineReader(store, ["typed:d"], {"typed": None})
    entities = [{"key": f"k{n % 3}", "shop": n} for n in range(4)]

    def known() -> list[datetime | None]:
        rows = reader.read(entities, later)
        return [None if row.ages["d"] is None else later - row.ages["d"] for row in rows]

    instants = [AT - timedelta(minutes=n) for n in range(4)]
    assert known() == [later, *instants[1:]]
    write(store, Span(END - timedelta(hours=1), END, anew=True))  # the span is empty
    write(store, Span(None, END, anew=False))
    assert known() == [later, *instants[1:]]
    write(store, Span(AT - timedelta(minutes=2, seconds=30), END, anew=True))
    assert known() == [later, instants[1], None, instants[3]]
    write(store)
    assert known() == [later, instants[1], None, None]


def test_projects_whose_names_end_alike_keep_their_own(place: str, tmp_path: Path) -> None:
    stores = [make(tmp_path / name, place, name) for name in ("shops", "workshops")]
    for store in stores:
        put_rows(store, rows(3))
        write(store)
    before = dump(stores[1])
    put_rows(stores[0], rows(0))
    write(stores[0])
    after = dump(stores[1])
    if "://" in place:
        before, after = ({k: v for k, v in held.items() if k.endswith(b"workshops")} for held in (before, after))
    assert before and before == after
    stored = OnlineReader(stores[0], ["typed:d"]).read([{"key": "k0", "shop": 0}], AT)
    assert stored[0].values["d"] is None


KEY_TYPES = {"STRING": st.text(), "INT64": st.integers(-(2**63), 2**63 - 1), "INT32": st.integers(-(2**31), 2**31 - 1)}
FIELD = {"STRING": "string_val", "INT64": "int64_val", "INT32": "int32_val", "BYTES": "bytes_val"}


@given(
    st.dictionaries(st.text(min_size=1, max_size=5), st.sampled_from([*KEY_TYPES]), min_size=1, max_size=4).flatmap(
        lambda types: st.tuples(st.just(types), st.tuples(*(KEY_TYPES[kind] for kind in types.values())))
    )
)
def test_keys_equal_those_of_feast(case: tuple[dict[str, str], tuple[Any, ...]]) -> None:
    from feast.protos.feast.types.Value_pb2 import Value

    types, values = case
    keys = EntityKeys({name: ValueType[kind] for name, kind in types.items()})
    protos = [Value(**{FIELD[kind]: value}) for kind, value in zip(types.values(), values, strict=True)]
    expected = serialize_entity_key(EntityKey(join_keys=[*types], entity_values=protos), 3)
    assert keys.encode(values) == expected
    assert keys.holds(expected) and not keys.holds(expected + b"x") and not keys.holds(expected[:-1])


@given(st.lists(st.none() | st.floats(width=32), min_size=1, max_size=20), st.sampled_from([Float32, Float64]))
def test_numbers_equal_those_of_feast(numbers: list[float | None], dtype: Any) -> None:
    for kind in {pa.float64(), pa.float32() if dtype == Float32 else pa.float64()}:
        column = pa.chunked_array([pa.array(numbers, kind)])
        protos = _columns_to_proto_values(pa.table({"x": column}), [("x", dtype.to_value_type())], allow_missing=False)
        values, texts = encode_column(column, dtype.to_value_type())
        assert values == [proto.SerializeToString() for proto in protos["x"]]
        assert [decode_value(value) for value in values] == [None if n is None or n != n else n for n in numbers]
        assert [None if text is None else struct.pack("<d", float(text)) for text in texts] == [
            None if n is None or n != n else struct.pack("<d", n) for n in numbers
        ]


def test_the_place_of_the_online_store_is_a_path_or_an_address(tmp_path: Path) -> None:
    assert online_store("x/online.db") == {"type": UTC_SQLITE, "path": "x/online.db"}
    assert online_store("redis://cache") == {"type": "redis", "connection_string": "cache:6379,db=0"}
    secret = online_store("rediss://me:12%3D3@cache:1/2")["connection_string"]
    assert secret == 'cache:1,db=2,ssl=true,username="me",password="12=3"'
    for bad in ("http://x", "redis://", "redis://x/one", "redis://h:p@x:port", "redis://:a%2Cb@x", "redis://x?db=1"):
        with pytest.raises(InvalidInput, match="FLIGHTDECK_FEAST_ONLINE") as error:
            online_store(bad)
        assert bad.split("://")[1] not in str(error.value) or bad == "redis://"


def test_bytes_may_be_keys_and_lists_may_not() -> None:
    assert EntityKeys({"k": ValueType.BYTES}).encode([b"a"])
    with pytest.raises(InvalidInput, match="key k: FLOAT cannot be a key"):
        EntityKeys({"k": ValueType.FLOAT}).encode([1.0])
    assert Bytes.to_value_type() == ValueType.BYTES
