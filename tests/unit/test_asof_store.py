"""Point-in-time joins of our offline store against a brute-force reference, through Feast's own interface."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import fsspec
import pandas as pd
import pyarrow as pa
import pytest
from feast import FeatureStore
from hypothesis import example, given
from hypothesis import strategies as st

from benchmarks.point_in_time_cases import (
    HOUR,
    ORIGIN,
    PROJECT,
    QUESTIONS,
    TTL,
    Line,
    Row,
    answer,
    at,
    cases,
    entity_rows,
    our_store,
    table,
)
from pipelines.errors import CorruptData, InvalidInput, MissingData
from pipelines.offline import asof_join
from pipelines.offline.asof_store import AsofOfflineStore
from pipelines.offline.entity_codes import entity_codes
from pipelines.store import Layout, Store
from tests.commands import fork
from tests.conftest import ROOT
from tests.examples import costly

A = Line("a", "b", 1, 12 * HOUR)


@pytest.fixture(scope="module")
def cases_store(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return our_store(tmp_path_factory.mktemp("cases"))


@pytest.fixture
def feast(cases_store: Any) -> FeatureStore:
    store, _ = cases_store
    return store


@pytest.fixture
def write(cases_store: Any) -> Any:
    _, write = cases_store
    return write


def ask(store: FeatureStore, lines: list[Line], **options: Any) -> pd.DataFrame:
    service = store.get_feature_service("all")
    job = store.get_historical_features(entity_rows(lines), service, full_feature_names=True, **options)
    frame: pd.DataFrame = job.to_df()
    return frame.astype(object).where(frame.notna(), None)


def value(store: FeatureStore, entities: pd.DataFrame | str, ref: str = "short:value") -> list[Any]:
    frame = store.get_historical_features(entities, [ref]).to_df()
    return [None if pd.isna(one) else one for one in frame[ref.split(":")[1]]]


@pytest.mark.parametrize("most_places", [0, asof_join.MOST_PLACES], ids=["joined", "filled"])
@pytest.mark.parametrize("only_written", [False, True])
@costly()
@given(case=cases())
@example(case=([Row("a", 1, 6 * HOUR, None, 1.0), Row("a", 1, 6 * HOUR, 2 * HOUR, 2.0)], [A]))
@example(case=([Row("a", 1, 6 * HOUR, HOUR, 1.0), Row("a", 1, 6 * HOUR, HOUR, None)], [A]))
@example(case=([Row("a", 1, 6 * HOUR - 1, HOUR, 1.0)], [A]))
@example(case=([Row("a", 1, 9 * HOUR, 20 * HOUR, 1.0), Row("a", 1, 7 * HOUR, HOUR, 2.0)], [A]))
def test_joins_equal_the_reference(
    cases_store: Any, only_written: bool, most_places: int, case: tuple[list[Row], list[Line]]
) -> None:
    store, write = cases_store
    rows, lines = case
    write(rows)
    in_store = sorted(
        rows, key=lambda row: row.known // (24 * HOUR)
    )  # one partition a day, each with its own column order
    with patch.object(asof_join, "MOST_PLACES", most_places):
        got = ask(store, lines, filter_by_created_timestamp=only_written)
    assert list(got.note) == list(range(len(lines)))  # rows in any order, with further columns
    for name, question in QUESTIONS.items():
        assert list(got[name]) == [answer(in_store, line, question, only_written) for line in lines], name


@costly()
@given(case=cases())
def test_the_latest_rows_equal_the_reference(cases_store: Any, case: tuple[list[Row], list[Line]]) -> None:
    store, write = cases_store
    rows, (line, *_) = case
    write(rows)
    source = store.get_feature_view("short").batch_source
    bounds = (at(line.asked - TTL), at(line.asked))
    pull = AsofOfflineStore.pull_latest_from_table_or_query
    got = pull(store.config, source, ["key"], ["value"], "known_at", "created", *bounds).to_arrow().to_pylist()  # type: ignore[arg-type]
    in_store = sorted(rows, key=lambda row: row.known // (24 * HOUR))
    keys = {row.key for row in rows if row.key is not None and 0 <= line.asked - row.known <= TTL}
    assert {row["key"]: row["value"] for row in got} == {
        key: answer(in_store, Line(key, key, 1, line.asked), QUESTIONS["short__value"]) for key in keys
    }
    everything = AsofOfflineStore.pull_all_from_table_or_query(
        store.config, source, ["key"], ["value"], "known_at", "created", *bounds
    ).to_arrow()
    inside = [row for row in in_store if 0 <= line.asked - row.known <= TTL]
    assert everything.to_pylist() == table(inside).select(["key", "value", "known_at", "created"]).to_pylist()


def test_without_keys_the_latest_row_has_the_placeholder_entity_of_feast(feast: FeatureStore, write: Any) -> None:
    write([Row("a", 1, HOUR, 0, 1.0), Row(None, 1, 2 * HOUR, 0, 2.0)])
    view = feast.get_feature_view("everyone")
    (row,) = (
        AsofOfflineStore.pull_latest_from_table_or_query(
            feast.config, view.batch_source, [], ["value"], "known_at", "created", ORIGIN, ORIGIN + timedelta(1)
        )
        .to_arrow()
        .to_pylist()
    )
    assert (row["__dummy_id"], row["value"], row["known_at"]) == ("", 2.0, at(2 * HOUR))


@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York", "Asia/Kathmandu"])
def test_instants_are_read_in_their_zone(feast: FeatureStore, write: Any, zone: str | None) -> None:
    write([Row("a", 1, 10 * HOUR, 0, 1.0)])
    instants = pd.to_datetime(pd.Index([at(10 * HOUR - 1), at(10 * HOUR)]), utc=True)
    local = instants.tz_localize(None) if zone is None else instants.tz_convert(zone)
    for stamps in (pd.Series(local), pd.Series(local).astype(object), pd.Series(local).dt.as_unit("ns")):
        assert value(feast, pd.DataFrame({"key": "a", "event_timestamp": stamps})) == [None, 1.0]
    renamed = pd.DataFrame({"key": "a", "instant": local})
    assert value(feast, renamed) == [None, 1.0]


def test_fractions_of_a_microsecond_make_no_value_known_earlier(feast: FeatureStore, write: Any) -> None:
    write([])
    data = Layout(Store(feast.config.offline_store.root), "cases")
    known = pa.array([10 * HOUR * 1000 + 1, 11 * HOUR * 1000 + 999], pa.timestamp("ns"))
    shifted = pa.array([int(ORIGIN.timestamp()) * 10**9 + moment.value for moment in known], pa.timestamp("ns", "UTC"))
    rows = table([Row("a", 1, 0, 0, 1.0), Row("a", 1, 0, 0, 2.0)])
    rows = rows.set_column(rows.column_names.index("known_at"), "known_at", shifted)
    data.store.write_table(data.partition("features", "rows", ORIGIN.date()), rows)
    cases = [(10 * HOUR * 1000, None), (10 * HOUR * 1000 + 1000, 1.0), (11 * HOUR * 1000 + 998, 1.0)]
    stamps = pd.to_datetime([int(ORIGIN.timestamp()) * 10**9 + nanos for nanos, _ in cases], utc=True)
    assert value(feast, pd.DataFrame({"key": "a", "event_timestamp": stamps})) == [expected for _, expected in cases]


def test_duplicate_missing_and_absent_entity_rows_keep_their_places(feast: FeatureStore, write: Any) -> None:
    write([Row("a", 1, 10 * HOUR, 0, 1.0)])
    entities = pd.DataFrame({"key": ["a", None, "a", "gone", "a"], "event_timestamp": [at(12 * HOUR)] * 4 + [pd.NaT]})
    assert value(feast, entities) == [1.0, None, 1.0, None, None]
    assert value(feast, entities[:0]) == []
    shuffled = feast.get_historical_features(entities.sample(frac=1, random_state=1), ["short:value"]).to_df()
    assert list(shuffled.index) == [0, 1, 2, 3, 4]


def test_frame_and_arrow_results_are_equal(feast: FeatureStore, write: Any) -> None:
    write([Row("a", 1, 10 * HOUR, 0, 1.0)])
    job = feast.get_historical_features(entity_rows([A, A]), ["short:value"])
    pd.testing.assert_frame_equal(job.to_df(), job.to_arrow().to_pandas(), check_dtype=False)
    assert job.metadata.features == ["short:value"] and job.metadata.max_event_timestamp == at(A.asked)


def test_entity_rows_may_be_sql(feast: FeatureStore, write: Any) -> None:
    write([Row("a", 1, 10 * HOUR, 0, 1.0)])
    rows = "select unnest(['a', 'b']) as key, timestamp '2024-01-01 12:00:00' as instant, 7 as note"
    assert value(feast, rows) == [1.0, None]
    with pytest.raises(InvalidInput, match=r"entity_df: .*nowhere"):
        value(feast, "select * from nowhere")


def test_duplicate_and_missing_names_are_refused(feast: FeatureStore, write: Any) -> None:
    write([Row("a", 1, 10 * HOUR, 0, 1.0)])
    entities = entity_rows([A]).assign(value=5.0)
    with pytest.raises(InvalidInput, match=r"columns named as features: \['value'\]"):
        feast.get_historical_features(entities, ["short:value"])
    full = feast.get_historical_features(entities, ["short:value"], full_feature_names=True).to_df()
    assert (full.value[0], full.short__value[0]) == (5.0, 1.0)
    with pytest.raises(InvalidInput, match=r"lack the keys \['key'\]"):
        feast.get_historical_features(entities.drop(columns="key"), ["forever:value"])
    with pytest.raises(InvalidInput, match="entity_df is missing"):
        feast.get_historical_features(None, ["short:value"], start_date=ORIGIN, end_date=ORIGIN)


def test_an_unreadable_source_is_an_error_that_names_it(feast: FeatureStore, write: Any) -> None:
    data = Layout(Store(feast.config.offline_store.root), "cases")
    days = [data.partition("features", "rows", (ORIGIN + timedelta(n)).date()) for n in range(3)]
    everywhere = entity_rows([A, Line("a", "a", 1, 60 * HOUR)])

    write([Row("a", 1, 10 * HOUR, 0, 1.0)])
    data.store.write_bytes(days[0], data.store.read_bytes(days[0])[:-100])
    with pytest.raises(CorruptData, match=r"features/rows: .*2024-01-01"):
        value(feast, everywhere)
    data.store.write_table(days[0], table([]).drop_columns(["value"]))
    for day in days[1:]:
        data.store.write_table(day, table([]).drop_columns(["value"]))
    with pytest.raises(InvalidInput, match=r'features/rows: .*"value"'):
        value(feast, everywhere)
    write([Row("a", 1, 10 * HOUR, 0, 1.0)])
    data.store.delete(days[1])
    with pytest.raises(MissingData, match="features/rows lacks 2024-01-02"):
        value(feast, everywhere)
    data.store.delete(data.uri("features"))
    with pytest.raises(MissingData, match="features/rows holds nothing"):
        value(feast, everywhere)


def test_a_column_that_older_partitions_lack_is_null_there(feast: FeatureStore, write: Any) -> None:
    write([Row("a", 1, 10 * HOUR, 0, 1.0), Row("a", 1, 30 * HOUR, 0, 2.0)])
    data = Layout(Store(feast.config.offline_store.root), "cases")
    first = data.partition("features", "rows", ORIGIN.date())
    data.store.write_table(first, data.store.read_table(first).drop_columns(["value"]))
    instants = [at(12 * HOUR), at(30 * HOUR)]
    assert value(feast, pd.DataFrame({"key": "a", "event_timestamp": instants})) == [None, 2.0]


@pytest.mark.parametrize(
    ("first", "second"), [(pa.int64(), pa.float64()), (pa.float64(), pa.int32()), (pa.float32(), pa.float64())]
)
def test_partitions_of_different_types_lose_no_precision(
    feast: FeatureStore, write: Any, first: pa.DataType, second: pa.DataType
) -> None:
    rows = [Row("a", 1, 10 * HOUR, 0, 3.0), Row("a", 1, 30 * HOUR, 0, 4.0 if second == pa.int32() else 0.1)]
    write(rows)
    data = Layout(Store(feast.config.offline_store.root), "cases")
    for day, kind in enumerate((first, second)):
        place = data.partition("features", "rows", (ORIGIN + timedelta(day)).date())
        table = data.store.read_table(place)
        data.store.write_table(place, table.set_column(4, "value", table["value"].cast(kind)))
    instants = [at(12 * HOUR), at(30 * HOUR)]
    assert value(feast, pd.DataFrame({"key": "a", "event_timestamp": instants})) == [row.value for row in rows]


def test_only_partitions_within_the_ttl_are_read(feast: FeatureStore, write: Any) -> None:
    write([Row("a", 1, 60 * HOUR, 0, 1.0)])
    data = Layout(Store(feast.config.offline_store.root), "cases")
    data.store.write_bytes(data.partition("features", "rows", ORIGIN.date()), b"not Parquet")
    late = pd.DataFrame({"key": ["a"], "event_timestamp": [ORIGIN + timedelta(hours=61)]})
    assert value(feast, late) == [1.0]
    with pytest.raises(CorruptData):
        value(feast, late, "forever:value")


def test_a_store_on_another_file_system_is_read_in_place(feast: FeatureStore, write: Any) -> None:
    write([Row("a", 1, 10 * HOUR, 0, 1.0)])
    local = feast.config.offline_store.root
    remote = fsspec.filesystem("memory")
    try:
        remote.put(f"{local}/cases", "/asof/cases", recursive=True)
        feast.config.offline_store.root = "memory://asof"
        assert value(feast, entity_rows([A])) == [1.0]
    finally:
        feast.config.offline_store.root = local
        remote.rm("/asof", recursive=True)


def test_names_of_files_are_not_patterns(tmp_path: Path) -> None:
    store, write = our_store(tmp_path / "it's [a] *home?")
    write([Row("a", 1, 10 * HOUR, 0, 1.0)])
    assert value(store, entity_rows([A])) == [1.0]


def print_naive(folder: Path) -> int:
    """Print point-in-time values, where rows and entity rows have instants without a zone."""
    store, _ = our_store(folder)
    data = Layout(Store(store.config.offline_store.root), PROJECT)
    rows = table([Row("a", 1, 10 * HOUR, 0, 1.0)])
    naive = rows["known_at"].cast(pa.timestamp("us"))
    data.store.write_table(data.partition("features", "rows", ORIGIN.date()), rows.set_column(2, "known_at", naive))
    instants = pd.Series([at(10 * HOUR - 1), at(10 * HOUR)]).dt.tz_localize(None)
    frame = pd.DataFrame({"key": "a", "event_timestamp": instants})
    print(time.localtime().tm_zone, store.get_historical_features(frame, ["short:value"]).to_df().value.tolist())
    return 0


@pytest.mark.parametrize(("zone", "name"), [("America/New_York", "EST"), ("Asia/Kathmandu", "+0545")])
def test_results_do_not_depend_on_the_zone_of_the_machine(tmp_path: Path, zone: str, name: str) -> None:
    done = fork(partial(print_naive, tmp_path), {"TZ": zone}).wait()
    assert done.stdout.splitlines()[-1:] == [f"{name} [nan, 1.0]"], done.stderr


@pytest.mark.parametrize(
    ("known", "asked", "expected"),
    [
        (pa.array([1, 2, None]), pa.array([2, None, 7, 1]), [1, None, None, 0]),
        (pa.array([1, 2], pa.int32()), pa.array([2.0, None, 1.5]), [1, None, None]),
        (pa.array(["a", "b"]), pa.array(["b", "c", None]).dictionary_encode(), [1, None, None]),
        (pa.array(["a", "b"]), pa.array(["b", "a"], pa.large_string()), [1, 0]),
        (pa.array(["a", "b"]), pa.nulls(2), [None, None]),
        (pa.array([], pa.string()), pa.array(["a"]), [None]),
    ],
)
def test_keys_of_different_types_are_compared_by_value(known: Any, asked: Any, expected: list[int | None]) -> None:
    rows, lines = entity_codes([("k", pa.chunked_array([known]), pa.chunked_array([asked]))], len(known), len(asked))
    code = dict(enumerate(rows.tolist()))
    assert [None if line < 0 else next(n for n, c in code.items() if c == line) for line in lines] == expected


def test_keys_that_cannot_be_compared_are_refused() -> None:
    columns = pa.chunked_array([pa.array(["a"])]), pa.chunked_array([pa.array([1])])
    with pytest.raises(InvalidInput, match="key k: int64 in the entity rows, string in the features"):
        entity_codes([("k", *columns)], 1, 1)


@given(st.lists(st.tuples(*[st.sampled_from([1, 2, 3, None])] * 4), min_size=1), st.data())
def test_composite_keys_have_equal_codes_where_all_parts_are_equal(rows: list[Any], data: Any) -> None:
    lines = data.draw(st.lists(st.tuples(*[st.sampled_from([1, 2, 3, 4, None])] * 4), min_size=1))
    columns = [pa.chunked_array([pa.array(part, pa.int64())]) for part in zip(*rows, strict=True)]
    wanted = [pa.chunked_array([pa.array(part, pa.int64())]) for part in zip(*lines, strict=True)]
    keys = [(str(n), known, asked) for n, (known, asked) in enumerate(zip(columns, wanted, strict=True))]
    of_rows, of_lines = entity_codes(keys, len(rows), len(lines))
    for row, code in zip(rows, of_rows, strict=True):
        assert (code < 0) == (None in row)
        for line, other in zip(lines, of_lines, strict=True):
            assert (code == other and code >= 0) == (row == line and None not in row)


def test_feast_imports_the_store_without_a_database() -> None:
    script = "import pipelines, feast, sys; import pipelines.offline.asof_store; print('duckdb' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_dates_in_far_away_years_work(feast: FeatureStore, write: Any) -> None:
    write([Row("a", 1, 10 * HOUR, 0, 1.0)])
    far = pd.Series([datetime(1900, 1, 1, tzinfo=UTC), datetime(2240, 1, 1, tzinfo=UTC)])
    assert value(feast, pd.DataFrame({"key": "a", "event_timestamp": far}), "forever:value") == [None, 1.0]
