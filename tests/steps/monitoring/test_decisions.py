"""Summaries that are refused, and summaries that hold the decision."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from pipelines.artifacts.seal import write_sealed
from pipelines.artifacts.summary import Summary
from pipelines.errors import CorruptData, InvalidInput
from pipelines.usecase import DAY, LABEL
from tests.editing import edit
from tests.steps.monitoring.desk import AS_OF, Desk, examples


@pytest.mark.parametrize(
    "changes",
    [
        {"model_version": "4"},
        {"as_of": AS_OF + timedelta(1)},
        {"end": date(2020, 1, 2)},
        {"start": date(2020, 1, 2)},
    ],
)
def test_a_stale_summary_is_refused(desk: Desk, changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=r"give the summary of the window .* or run report_drift again"):
        desk.decide(desk.report().summary_uri, **changes)


def test_a_window_is_the_one_given_to_the_step_even_where_its_ends_have_no_outcomes(desk: Desk) -> None:
    desk.frame = desk.frame[desk.frame[DAY] == date(2020, 1, 2)]
    outputs = desk.report()
    assert desk.summary(outputs)["window"] == ["2020-01-01", "2020-01-03"]
    assert desk.decide(outputs.summary_uri).verdict == "KEEP"
    shorter = desk.report(start=date(2020, 1, 2))
    with pytest.raises(InvalidInput, match=r"2020-01-02 to 2020-01-03, not of .* 2020-01-01 to 2020-01-03"):
        desk.decide(shorter.summary_uri)


@pytest.mark.parametrize("changes", [{"start": date(2020, 1, 2)}, {"end": date(2020, 1, 2)}])
def test_outcomes_of_days_outside_the_window_are_not_reported(desk: Desk, changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="outcomes from 2020-01-01 to 2020-01-02, which leave 2020-"):
        desk.report(**changes)


def test_a_file_that_is_not_a_summary_is_reported_as_corrupt(desk: Desk) -> None:
    uri = desk.context.data.uri("monitoring", "m1", Summary.FILE)
    desk.context.data.store.write_json(uri, {"model_version": "3"})
    with pytest.raises(CorruptData, match=r"summary\.json carries no digest of its own; run report_drift again"):
        desk.decide(uri)
    write_sealed(desk.context.data.store, uri, {"model_version": "3"})
    with pytest.raises(CorruptData, match=r"summary\.json lacks as_of, columns, .* window; run report_drift again"):
        desk.decide(uri)


def test_an_edited_summary_is_refused(desk: Desk) -> None:
    uri = desk.report().summary_uri
    edit(uri, lambda summary: summary.update(roc_auc_drop=0.0))
    altered = r"summary\.json was altered.* restore it, or run report_drift again"
    with pytest.raises(CorruptData, match=altered):
        desk.decide(uri)


def test_too_few_labels_hold_the_decision_whatever_the_metrics(desk: Desk) -> None:
    desk.frame = examples(60)
    desk.frame[LABEL] = 1 - desk.frame[LABEL]
    decided = desk.decide(desk.report().summary_uri)
    assert decided.verdict == "HOLD"
    assert "only 60 matured labels" in decided.reasons[0]


def test_a_damaged_health_report_is_named_and_the_others_are_shown(desk: Desk) -> None:
    folder = desk.context.data.uri("reports", "features")
    good = {"window": ["2020-01-02", "2020-01-03"], "verdict": "PASS", "reasons": [], "views": {}}
    desk.context.data.store.write_json(f"{folder}/2020-01-02_2020-01-03.json", good)
    desk.context.data.store.write_json(f"{folder}/2020-01-01_2020-01-02.json", {"verdict": "PASS"})
    desk.context.data.store.write_bytes(f"{folder}/2020-01-01_2020-01-03.json", b"{")
    summary = desk.summary(desk.report())
    assert summary["feature_health"]["windows"] == 1
    assert {name for name in summary["left_out"] if name.startswith("reports/")} == {
        "reports/features/2020-01-01_2020-01-02.json",
        "reports/features/2020-01-01_2020-01-03.json",
    }
