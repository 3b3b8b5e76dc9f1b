"""Rules over several columns: Great Expectations, the mask and plain Python agree."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.usecases.flights.rules import ExpectClockTimes, ExpectClockTimesToFitDelays
from pipelines.validation.expectations import (
    ExpectInstantsToFitLocalTime,
    ExpectPresenceToImply,
    ExpectQuotientsToBeBetween,
    ExpectWeightedSumsToEqual,
    RowExpectation,
)
from pipelines.validation.masks import bad_rows
from pipelines.validation.suite import checks_of, evaluate
from tests.examples import costly

META = {"severity": "quarantine", "reason": "bad"}
ZONE = "America/New_York"
numbers = st.one_of(st.none(), st.integers(-3, 3).map(float), st.sampled_from([60.0, 959.0, 1000.0, 2400.0, 2401.0]))
instants = st.one_of(
    st.none(),
    st.sampled_from(["2013-03-10T06:30Z", "2013-03-10T07:30Z", "2013-11-03T05:30Z", "2013-11-03T06:30Z"]).map(
        pd.Timestamp
    ),
)
rows = st.lists(st.tuples(numbers, numbers, numbers, instants, st.integers(0, 3)), min_size=1, max_size=12)

Row = dict[Hashable, Any]


def missing(value: Any) -> bool:
    return value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value))


def implies(row: Row) -> bool:
    return missing(row["a"]) or not (missing(row["b"]) or missing(row["c"]))


def quotient(row: Row) -> bool:
    if missing(row["a"]) or missing(row["b"]):
        return True
    return bool(row["b"] != 0 and 1 <= 2 * row["a"] / row["b"] <= 3)


def weighted(row: Row) -> bool:
    return any(missing(row[c]) for c in "abc") or row["a"] == 100 * row["b"] + row["c"]


def local(row: Row) -> bool:
    return missing(row["at"]) or row["at"].to_pydatetime().astimezone(ZoneInfo(ZONE)).hour == row["hour"]


def clock(row: Row) -> bool:
    return all(missing(row[c]) or (0 <= row[c] <= 2400 and int(row[c]) % 100 < 60) for c in "abc")


def fits(row: Row) -> bool:
    if any(missing(row[c]) for c in "abc"):
        return True
    planned, actual = (int(row[c]) // 100 * 60 + int(row[c]) % 100 for c in "ab")
    return (planned + int(row["c"]) - actual) % 1440 == 0


RULES: list[tuple[RowExpectation, Callable[[Row], bool]]] = [
    (ExpectPresenceToImply(column_list=["a", "b", "c"], meta=META), implies),
    (ExpectQuotientsToBeBetween(column_list=["a", "b"], scale=2, min_value=1, max_value=3, meta=META), quotient),
    (ExpectWeightedSumsToEqual(column_list=["a", "b", "c"], weights=[100, 1], meta=META), weighted),
    (ExpectInstantsToFitLocalTime(column_list=["at", "hour"], timezone=ZONE, parts=["hour"], meta=META), local),
    (ExpectClockTimes(column_list=["a", "b", "c"], meta=META), clock),
    (ExpectClockTimesToFitDelays(column_list=["a", "b", "c"], meta=META), fits),
]


def test_every_rule_has_a_case_here() -> None:
    def below(kind: type[Any]) -> set[type[Any]]:
        return {kind}.union(*(below(one) for one in kind.__subclasses__()))

    assert below(RowExpectation) - {RowExpectation} == {type(rule) for rule, _ in RULES}


@costly()
@given(rows)
def test_mask_count_and_plain_python_agree(values: list[tuple[Any, ...]]) -> None:
    frame = pd.DataFrame(values, columns=["a", "b", "c", "at", "hour"])
    frame = frame.astype({"a": "float64", "b": "float64", "c": "float64"})
    frame["at"] = pd.to_datetime(frame["at"], utc=True)
    for (rule, good), result in zip(
        RULES, evaluate(frame, checks_of("table", [rule for rule, _ in RULES])), strict=True
    ):
        assert result.error is None, (result.check.title, result.error)
        expected = [not good(row) for row in frame.to_dict("records")]
        assert bad_rows(frame, rule).tolist() == expected, result.check.title
        assert result.observed["unexpected_count"] == sum(expected), result.check.title


@pytest.mark.parametrize(
    ("instant", "hour", "good"),
    [
        ("2013-03-10T06:30Z", 1, True),  # the last hour of winter
        ("2013-03-10T07:30Z", 3, True),  # the first of summer
        ("2013-03-10T07:30Z", 2, False),  # a skipped hour
        ("2013-11-03T05:30Z", 1, True),  # one o'clock in summer time
        ("2013-11-03T06:30Z", 1, True),  # an hour later, in winter time
        ("2013-11-03T06:30Z", 2, False),
    ],
)
def test_local_time_rules_handle_both_clock_changes(instant: str, hour: int, good: bool) -> None:
    rule = ExpectInstantsToFitLocalTime(column_list=["at", "hour"], timezone=ZONE, parts=["hour"])
    frame = pd.DataFrame({"at": [pd.Timestamp(datetime.fromisoformat(instant))], "hour": [hour]})
    assert bad_rows(frame, rule).tolist() == [not good]
