"""What could not be judged is a failure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import great_expectations.expectations as gxe
import pytest

from pipelines.context import Context
from pipelines.errors import CheckFailed, CorruptData, InvalidInput, MissingData
from pipelines.records import DecisionKind, Decisions
from pipelines.validation.expectations import ExpectPresenceToImply
from pipelines.validation.masks import MASKS
from pipelines.validation.queries import ExpectValuesToBeKnown
from pipelines.validation.validate import run
from tests.steps.validation.meters import (
    MIDDLE,
    WINDOW,
    ExpectTheImpossible,
    ExpectToRaise,
    expectations,
    put,
    readings,
    report,
)


@pytest.mark.parametrize("severity", ["critical", "warning"])
@pytest.mark.parametrize(
    ("check", "message"),
    [
        (ExpectToRaise, "a mistake"),
        (ExpectTheImpossible, "nowhere"),
        (lambda meta: ExpectValuesToBeKnown(column="meter", table="gone", known_in="site", meta=meta), "gone"),
        (lambda meta: ExpectValuesToBeKnown(column="lost", table="sites", known_in="site", meta=meta), "lost"),
        (lambda meta: ExpectPresenceToImply(column_list=["meter", "lost"], meta=meta), "lost"),
    ],
    ids=["raises", "no such view", "no such table", "no such column", "no such column in a chunk"],
)
def test_an_expectation_that_could_not_be_evaluated_is_a_failure(
    make: Callable[..., Context], check: Any, message: str, severity: str
) -> None:
    context = make(
        declared=lambda table: [
            *expectations(table),
            *([check(meta={"severity": severity})] if table.name == "readings" else []),
        ]
    )
    with pytest.raises(CheckFailed, match=f"could not be evaluated.*{message}"):
        run(WINDOW, context)
    assert context.data.periods("validated", "readings") == []


def test_a_missing_reference_table_is_a_failure(make: Callable[..., Context]) -> None:
    context = make()
    context.data.store.delete(context.data.partition("raw", "sites", None))
    with pytest.raises(MissingData, match="sites"):
        run(WINDOW, context)


def test_a_partition_that_changes_during_validation_is_not_passed(
    make: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make()
    write = Decisions.record

    def restate(self: Any, decision: Any) -> str:
        put(context, readings(MIDDLE, [-9.0, 1.0, 2.0]), MIDDLE)
        return write(self, decision)

    monkeypatch.setattr(Decisions, "record", restate)
    with pytest.raises(CorruptData, match="raw/readings of 2020-01-02 changed while it was validated; run again"):
        run(WINDOW, context)


def test_a_mask_that_disagrees_with_great_expectations_rejects_the_window(
    make: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        MASKS, "expect_column_values_to_not_be_null", lambda frame, kwargs: frame["load"].notna().to_numpy()
    )
    with pytest.raises(CheckFailed, match="the quarantine mask finds 6 bad rows and Great Expectations 0"):
        run(WINDOW, make())


def test_expectations_that_depend_on_chunks_are_refused(make: Callable[..., Context]) -> None:
    for check in (gxe.ExpectTableRowCountToBeBetween(min_value=1), gxe.ExpectColumnValuesToBeUnique(column="meter")):
        with pytest.raises(InvalidInput, match="sees only a part of a daily table; use Expect"):
            run(WINDOW, make(declared=lambda table, check=check: [check]))


def test_a_value_that_breaks_one_expectation_breaks_no_other(
    make: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever Great Expectations raises about one of them, all others are judged and the verdict is recorded."""
    from pipelines.validation import suite

    whole = suite._validate

    def fragile(frame: Any, options: list[Any]) -> Any:
        if any(one.expectation_type == "expect_column_max_to_be_between" for one in options):
            raise OverflowError("too large")
        return whole(frame, options)

    monkeypatch.setattr(suite, "_validate", fragile)
    context = make()
    with pytest.raises(CheckFailed, match=r"expect_column_max.*could not be evaluated: OverflowError: too large"):
        run(WINDOW, context)
    (decision,) = context.decisions.all(DecisionKind.VALIDATE)
    assert decision["verdict"] == "REJECT"
    assert [one["error"] for one in report(context)["tables"]["readings"]["expectations"]].count(None) == 4
