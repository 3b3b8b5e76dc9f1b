"""Expectations in SQL over all partitions, against plain Python over the same rows."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import great_expectations.expectations as gxe
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.store import Layout, Store
from pipelines.usecase import DAY, RawTable
from pipelines.validation.asking import QueryOutcome, ask
from pipelines.validation.distribution import ExpectDistributionToBeStable, stability_index
from pipelines.validation.queries import (
    ExpectColumnTypes,
    ExpectKeysToBeUnique,
    ExpectNumbersToBeFinite,
    ExpectPeriodRowCountsToBeBetween,
    ExpectPeriodsToReachTheirEnd,
    ExpectValuesToBeKnown,
)
from pipelines.validation.suite import checks_of, evaluate
from tests.examples import costly

FIRST = date(2020, 1, 1)
READINGS = RawTable("readings", ("key",), {"key": "string"}, day=DAY)
SITES = RawTable("sites", ("site",), {"site": "string"})
APART = {"severity": "quarantine", "reason": "bad"}
NOTED = {"severity": "warning", "reason": "noted"}


@pytest.fixture
def data(tmp_path: Path) -> Layout:
    return Layout(Store(str(tmp_path / "data")), "meters")


def put(data: Layout, day: int | None, columns: dict[str, Any], zone: str = "raw") -> None:
    table = "sites" if day is None else "readings"
    data.store.write_table(data.partition(zone, table, None if day is None else at(day)), pa.table(columns))


def at(day: int) -> date:
    return FIRST + timedelta(day)


def ask_one(
    data: Layout, check: Any, days: list[int], table: RawTable = READINGS, timezone: str = "Europe/Berlin"
) -> QueryOutcome:
    usecase: Any = SimpleNamespace(tables=(READINGS, SITES), timezone=timezone)
    (answer,) = ask(table, [at(day) for day in days], checks_of("readings", [check]), usecase, data, {})
    return answer


def bad(answer: QueryOutcome) -> set[tuple[int, int]]:
    return {((day - FIRST).days, int(row)) for day, rows in answer.bad.items() if day for row in rows}


keys = st.lists(
    st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.sampled_from([1, 2, None])), max_size=4),
    min_size=1,
    max_size=6,
)


@costly()
@given(keys, st.integers(0, 3), st.integers(1, 3))
def test_a_repeated_key_is_found_within_a_day_and_in_earlier_days(
    tmp_path: Path, days: list[list[tuple[Any, Any]]], start: int, within: int
) -> None:
    shutil.rmtree(tmp_path / "data", ignore_errors=True)
    data = Layout(Store(str(tmp_path / "data")), "meters")
    for day, rows in enumerate(days):
        columns = {
            "k": pa.array([k for k, _ in rows], pa.string()),
            "n": pa.array([n for _, n in rows], pa.int32()),
        }
        put(data, day, columns)
    start = min(start, len(days) - 1)
    expected = set()
    for day in range(start, len(days)):
        own = Counter(days[day])
        before = {row for back in range(max(0, day - within), day) for row in days[back]}
        expected |= {
            (day, n) for n, row in enumerate(days[day]) if row != (None, None) and (own[row] > 1 or row in before)
        }
    check = ExpectKeysToBeUnique(column_list=["k", "n"], within_days=within, meta=APART)
    answer = ask_one(data, check, list(range(start, len(days))))
    assert answer.result.error is None and bad(answer) == expected
    assert answer.result.success == (not expected)
    assert answer.result.observed["unexpected_count"] == len(expected)
    assert answer.result.observed["element_count"] == sum(map(len, days[start:]))


def test_keys_within_one_day_are_judged_as_by_great_expectations(data: Layout) -> None:
    draw = np.random.default_rng(1)
    columns = {"k": draw.choice(np.array(["a", "b", "c", None], dtype=object), 60), "n": draw.integers(0, 9, 60)}
    put(data, 0, columns)
    frame = pd.DataFrame(columns)
    (theirs,) = evaluate(frame, checks_of("t", [gxe.ExpectCompoundColumnsToBeUnique(column_list=["k", "n"])]))
    ours = ask_one(data, ExpectKeysToBeUnique(column_list=["k", "n"], meta=APART), [0])
    assert ours.result.observed["unexpected_count"] == theirs.observed["unexpected_count"] > 0


def test_unknown_values_are_found_row_by_row_and_counted_without_nulls(data: Layout) -> None:
    put(data, None, {"site": ["x", "y", None]})
    put(data, 0, {"site": ["x", "z", None, "w"]})
    put(data, 1, {"site": ["y", "z"]})
    answer = ask_one(data, ExpectValuesToBeKnown(column="site", table="sites", known_in="site", meta=APART), [0, 1])
    assert bad(answer) == {(0, 1), (0, 3), (1, 1)}
    assert answer.result.observed["missing_count"] == 1 and not answer.result.success
    assert {tuple(row.values()) for row in answer.result.sample} == {
        ("2020-01-01", "w"),
        ("2020-01-01", "z"),
        ("2020-01-02", "z"),
    }
    some = {"column": "site", "table": "sites", "known_in": "site"}
    assert ask_one(data, ExpectValuesToBeKnown(**some, allowed=("z", "w"), meta=APART), [0, 1]).result.success
    assert ask_one(data, ExpectValuesToBeKnown(**some, mostly=0.4, meta=APART), [0, 1]).result.success  # 2 of 5
    assert not ask_one(data, ExpectValuesToBeKnown(**some, mostly=0.41, meta=APART), [0, 1]).result.success


def test_an_empty_reference_table_makes_every_value_unknown(data: Layout) -> None:
    put(data, None, {"site": pa.array([], pa.string())})
    put(data, 0, {"site": ["x"]})
    check = ExpectValuesToBeKnown(column="site", table="sites", known_in="site", meta=APART)
    assert bad(ask_one(data, check, [0])) == {(0, 0)}


def test_nan_and_infinity_are_bad_and_null_is_not(data: Layout) -> None:
    values = pa.array([1.0, math.nan, None, math.inf, -math.inf])
    put(data, 0, {"a": values, "b": pa.array([1, 2, 3, 4, 5])})
    assert bad(ask_one(data, ExpectNumbersToBeFinite(column_list=["a", "b"], meta=APART), [0])) == {
        (0, 1),
        (0, 3),
        (0, 4),
    }


def test_types_are_checked_in_every_partition(data: Layout) -> None:
    put(data, 0, {"a": pa.array([1], pa.int32()), "b": ["x"]})
    put(data, 1, {"a": pa.array([1], pa.int64()), "b": ["x"]})
    check = ExpectColumnTypes(types={"a": "INTEGER", "b": "VARCHAR"})
    assert ask_one(data, check, [0]).result.success
    retyped = ask_one(data, check, [0, 1]).result
    assert not retyped.success and "a: BIGINT, not INTEGER (first in 2020-01-02" in retyped.observed["observed_value"]
    lost = ask_one(data, ExpectColumnTypes(types={"c": "DATE"}), [0, 1]).result
    assert not lost.success and "c: missing, not DATE" in lost.observed["observed_value"]


def test_row_counts_are_judged_by_day(data: Layout) -> None:
    for day, rows in enumerate((2, 9, 4)):
        put(data, day, {"a": list(range(rows))})
    result = ask_one(data, ExpectPeriodRowCountsToBeBetween(min_value=3, max_value=8), [0, 1, 2]).result
    assert result.observed["observed_value"] == "2 to 9 rows; outside on 2 days (2020-01-01: 2, 2020-01-02: 9)"
    assert ask_one(data, ExpectPeriodRowCountsToBeBetween(min_value=2, max_value=9), [0, 1, 2]).result.success
    assert not ask_one(data, ExpectPeriodRowCountsToBeBetween(min_value=5), [0, 1, 2]).result.success


def test_each_day_must_reach_its_local_end(data: Layout) -> None:
    def instants(*hours: int) -> dict[str, Any]:
        return {"at": pa.array([datetime(2020, 1, 1, tzinfo=UTC) + timedelta(hours=h) for h in hours])}

    put(data, 0, instants(6, 20, 27))  # local days of Berlin end at 23:00 UTC
    put(data, 1, instants(25, 44))
    assert ask_one(data, ExpectPeriodsToReachTheirEnd(column="at", hours=3), [0, 1]).result.success
    late = ask_one(data, ExpectPeriodsToReachTheirEnd(column="at", hours=2), [0, 1]).result
    assert late.observed["observed_value"] == "-4 to 3 h before its end; outside on 1 days (2020-01-02: 3)"
    put(data, 1, {"at": pa.array([None], pa.timestamp("us", tz="UTC"))})
    check = ExpectPeriodsToReachTheirEnd(column="at", hours=99)
    assert not ask_one(data, check, [0, 1], timezone="UTC").result.success


def test_without_earlier_days_there_is_nothing_to_compare_with(data: Layout) -> None:
    put(data, 3, {"a": list(range(500))})
    for stray in (0, 4):  # beyond the lookback, and after the day
        put(data, stray, {"a": list(range(500))}, zone="validated")
    result = ask_one(data, ExpectDistributionToBeStable(column="a", days_before=2), [3]).result
    assert not result.success and "nothing to compare with" in result.observed["observed_value"]
    put(data, 2, {"a": list(range(100))}, zone="validated")
    assert not ask_one(data, ExpectDistributionToBeStable(column="a", days_before=2), [3]).result.success
    put(data, 1, {"a": list(range(100))}, zone="validated")
    assert "nothing" not in str(ask_one(data, ExpectDistributionToBeStable(column="a", days_before=2), [3]).result)


@pytest.mark.parametrize("kind", ["number", "text"])
def test_the_stability_index_equals_that_of_counted_bins(data: Layout, kind: str) -> None:
    draw = np.random.default_rng(3)
    before, now = draw.normal(0, 1, 3000), draw.normal(1.0, 1, 1000)
    if kind == "text":
        before, now = (np.array([*"abcd"])[np.clip(v, 0, 3).astype(int)] for v in (before, now))
        bins = [*"abcd"]
        counts = [[int((v == b).sum()) for b in bins] for v in (now, before)]
    else:
        edges = np.sort(before)[[len(before) * k // 10 - 1 for k in range(1, 10)]]
        counts = [np.bincount(np.searchsorted(edges, v, "left"), minlength=10).tolist() for v in (now, before)]
    put(data, 0, {"a": before}, zone="validated")
    put(data, 1, {"a": now})
    result = ask_one(data, ExpectDistributionToBeStable(column="a", meta=NOTED), [1]).result
    p, q = ([(n + 0.5) / (sum(c) + 0.5 * len(c)) for n in c] for c in counts)
    psi = sum((a - b) * math.log(a / b) for a, b in zip(p, q, strict=True))
    assert result.observed["observed_value"] == round(psi, 4) > 0.25 and not result.success
    put(data, 1, {"a": before[:1500]})
    assert ask_one(data, ExpectDistributionToBeStable(column="a"), [1]).result.success


def test_a_column_missing_from_the_reference_is_an_error_and_a_new_value_a_shift(data: Layout) -> None:
    put(data, 0, {"b": ["x"] * 300}, zone="validated")
    put(data, 1, {"a": ["x"] * 300})
    assert ask_one(data, ExpectDistributionToBeStable(column="a"), [1]).result.error is not None
    put(data, 0, {"a": ["x"] * 300}, zone="validated")
    put(data, 1, {"a": ["y"] * 300})
    assert ask_one(data, ExpectDistributionToBeStable(column="a"), [1]).result.observed["observed_value"] > 5
    assert stability_index(pd.Series([1, 1]), pd.Series([1, 1])) == 0


def test_a_store_other_than_local_files_can_be_queried() -> None:
    data = Layout(Store("memory://asked"), "meters")
    put(data, 0, {"k": ["a", "b"]})
    put(data, 1, {"k": ["a", "c"]})
    assert bad(ask_one(data, ExpectKeysToBeUnique(column_list=["k"], meta=APART), [0, 1])) == {(1, 0)}
