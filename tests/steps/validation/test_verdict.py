"""The validate step over a store of its own, with Great Expectations itself."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import great_expectations.expectations as gxe
import pytest

from pipelines.context import Context
from pipelines.errors import CheckFailed, CorruptData, InvalidInput, MissingData
from pipelines.records import DecisionKind
from pipelines.usecase import DAY
from pipelines.validation.validate import run
from tests.steps.validation.meters import MIDDLE, SITES, START, WINDOW, expectations, put, read, readings, report


def test_bad_rows_are_quarantined_with_every_reason_and_clean_rows_pass(make: Callable[..., Context]) -> None:
    context = make()
    put(context, readings(MIDDLE, [-1.0, None, 5.0, -6.0, 7.0, 0.0, 1.0, 2.0], [*"abcddefg"]), MIDDLE)
    outputs = run(WINDOW, context)
    assert outputs.verdict == "PASS"
    assert outputs.rows == {"readings": 7, "sites": 2}
    assert outputs.quarantined == {"readings": {"negative": 2, "no_load": 1, "twice": 2}, "sites": {}}
    assert read(context, "validated", MIDDLE)["meter"] == [*"cefg"]
    bad = read(context, "quarantine", MIDDLE)
    assert dict(zip(zip(bad["meter"], bad["load"], strict=True), bad["reason"], strict=True)) == {
        ("a", -1.0): "negative",
        ("b", None): "no_load",
        ("d", -6.0): "negative,twice",
        ("d", 7.0): "twice",
    }
    assert context.data.periods("quarantine", "readings") == [MIDDLE]
    assert read(context, "validated", None, "sites") == {"site": ["a", "b"]}
    decision = context.decisions.get(outputs.decision_id)
    assert decision and decision["verdict"] == "PASS" and decision["kind"] == "validate"


def test_a_rerun_on_corrected_data_leaves_no_old_quarantine_and_the_same_bytes(make: Callable[..., Context]) -> None:
    context = make()
    put(context, readings(MIDDLE, [-1.0, 1.0, 2.0]), MIDDLE)
    run(WINDOW, context)
    assert context.data.periods("quarantine", "readings") == [MIDDLE]
    put(context, readings(MIDDLE, [1.0, 1.0, 2.0]), MIDDLE)
    first = run(WINDOW, context)
    uri = context.data.partition("validated", "readings", MIDDLE)
    before = context.data.store.read_bytes(uri)
    assert context.data.periods("quarantine", "readings") == []
    assert run(WINDOW, context) == first
    assert context.data.store.read_bytes(uri) == before
    assert len(context.decisions.all(DecisionKind.VALIDATE)) == 2  # what was decided on the bad data stays known


def test_a_day_without_rows_still_has_a_partition_of_the_same_schema(make: Callable[..., Context]) -> None:
    context = make(required=False)
    put(context, readings(MIDDLE, []), MIDDLE)
    assert "readings has no rows on 1 days" in run(WINDOW, context).reasons[0]
    empty = context.data.store.read_table(context.data.partition("validated", "readings", MIDDLE))
    assert empty.num_rows == 0
    assert empty.schema == context.data.store.read_table(context.data.partition("raw", "readings", START)).schema


def test_a_warning_is_reported_and_stops_nothing(make: Callable[..., Context]) -> None:
    context = make()
    put(context, readings(MIDDLE, [1000.0]), MIDDLE)
    outputs = run(WINDOW, context)
    assert outputs.verdict == "PASS"
    assert len(outputs.reasons) == 1 and "high" in outputs.reasons[0] and "1000" in outputs.reasons[0]


def critical_failure(context: Context) -> None:
    put(context, readings(MIDDLE, [1.0, 2.0], ["a", None]), MIDDLE)


def empty_table(context: Context) -> None:
    for day in (START, MIDDLE):
        put(context, readings(day, []), day)


def too_many_bad(context: Context) -> None:
    put(context, readings(MIDDLE, [-1.0] * 5), MIDDLE)


def lost_column(context: Context) -> None:
    for day in (START, MIDDLE):
        put(context, readings(day, [1.0]).drop_columns(["load"]), day)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (critical_failure, "readings: expect_column_values_to_not_be_null.*'unexpected_count': 1"),
        (empty_table, "readings has no rows"),
        (
            too_many_bad,
            r"on 2020-01-02: 100.00% of 5 rows would be quarantined \(negative 5\).*look at the source",
        ),
        (lost_column, "could not be evaluated"),
    ],
)
def test_untrustworthy_data_are_rejected_and_not_written(
    make: Callable[..., Context], break_it: Callable[[Context], None], message: str
) -> None:
    context = make()
    break_it(context)
    with pytest.raises(CheckFailed, match=message):
        run(WINDOW, context)
    assert context.data.periods("validated", "readings") == []
    assert not context.data.store.exists(context.data.partition("validated", "sites", None))
    assert [d["verdict"] for d in context.decisions.all(DecisionKind.VALIDATE)] == ["REJECT"]
    assert report(context)["verdict"] == "REJECT"
    assert report(context)["tables"]["readings"]["rejections"]


def test_a_table_without_expectations_is_rejected(make: Callable[..., Context]) -> None:
    context = make(declared=lambda table: [] if table is SITES else expectations(table))
    with pytest.raises(CheckFailed, match="sites has no expectations"):
        run(WINDOW, context)


def test_a_quarantine_that_names_no_rows_is_an_invalid_declaration(make: Callable[..., Context]) -> None:
    mean = gxe.ExpectColumnMeanToBeBetween(column="load", min_value=0, meta={"severity": "quarantine"})
    with pytest.raises(InvalidInput, match="cannot quarantine rows"):
        run(WINDOW, make(declared=lambda table: [mean]))


def test_the_report_holds_every_result(make: Callable[..., Context]) -> None:
    context = make()
    run(WINDOW, context)
    tables = report(context)["tables"]
    assert [len(tables[name]["expectations"]) for name in ("readings", "sites")] == [5, 1]
    assert all(result["success"] for name in tables for result in tables[name]["expectations"])
    assert tables["readings"]["expectations"][0]["observed"]["element_count"] == 6


def test_rows_of_another_day_are_refused(make: Callable[..., Context]) -> None:
    context = make()
    put(context, readings(date(2019, 12, 31), [1.0]), MIDDLE)
    with pytest.raises(CorruptData, match=f"raw/readings/2020-01-02: 1 rows have another {DAY}"):
        run(WINDOW, context)


def test_a_day_that_was_not_ingested_is_named(make: Callable[..., Context]) -> None:
    context = make()
    context.data.store.delete(context.data.partition("raw", "readings", MIDDLE))
    with pytest.raises(MissingData, match="2020-01-02"):
        run(WINDOW, context)
