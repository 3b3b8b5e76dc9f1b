"""The retraining decision, the label join and their metrics, as pure functions."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pipelines.artifacts.summary import Summary
from pipelines.errors import CheckFailed, CorruptData, InvalidInput
from pipelines.monitoring.outcomes import join_labels, maturity_counts
from pipelines.monitoring.performance import difference, performance
from pipelines.monitoring.predictions import prediction_table
from pipelines.monitoring.retraining import Retraining, decide
from pipelines.usecase import DAY, EXAMPLE_ID, LABEL, LABEL_KNOWN_AT, PREDICTED_AT, ModelInputs
from pipelines.verdict import Gate
from tests import artifacts

GATES = (
    Gate(metric="roc_auc_drop", direction="at_most", threshold=0.03),
    Gate(metric="calibration_gap", direction="at_most", threshold=0.05),
)
NOON = datetime(2020, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def summary(n_labelled: int = 1000, drop: float | None = 0.0, gap: float | None = 0.01, **changes: Any) -> Summary:
    metrics = {"roc_auc": 0.7, "calibration_gap": gap}
    return artifacts.summary(n_labelled=n_labelled, roc_auc_drop=drop, metrics=metrics, **changes)


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        (summary(), Retraining.KEEP),
        (summary(drop=0.03), Retraining.KEEP),
        (summary(drop=0.031), Retraining.RETRAIN),
        (summary(gap=0.06), Retraining.RETRAIN),
        (summary(drop=-0.2), Retraining.KEEP),
        (summary(n_labelled=999, drop=0.5), Retraining.HOLD),
        (summary(n_labelled=0, drop=None, gap=None), Retraining.HOLD),
        (summary(drop=None), Retraining.HOLD),
        (summary(drop=math.nan), Retraining.HOLD),
        (summary(drop=math.nan, gap=0.5), Retraining.RETRAIN),
        (summary(drift_share=1.0, drifted_columns=list("abcdefg"), score_drift=9.0), Retraining.KEEP),
    ],
)
def test_the_verdict_follows_from_metrics_and_drift(given: Summary, verdict: Retraining) -> None:
    decision, reasons = decide(given, GATES, min_labelled=1000)
    assert decision is verdict
    assert len(reasons) >= 2 and all(reason.endswith(".") for reason in reasons)


@pytest.mark.parametrize("n_labelled", [None, math.nan, "many"])
def test_a_summary_without_a_label_count_is_refused(n_labelled: Any) -> None:
    with pytest.raises(CorruptData, match=r"summary\.json has .* as n_labelled .*run report_drift again"):
        artifacts.summary(n_labelled=n_labelled)


def test_a_missing_metric_is_mentioned_beside_the_failure_that_triggers_retraining() -> None:
    _, reasons = decide(summary(drop=None, gap=0.5), GATES, min_labelled=1)
    assert "calibration_gap is 0.5000" in reasons[0]
    assert "roc_auc_drop is missing" in reasons[1]


def test_without_a_gate_the_verdict_is_not_keep() -> None:
    verdict, reasons = decide(summary(), (), min_labelled=1)
    assert verdict is Retraining.HOLD
    assert "retrain_when_failing" in reasons[0]


def test_drift_is_mentioned_and_decides_nothing() -> None:
    _, reasons = decide(summary(drift_share=1.0, drifted_columns=list("abcdefg")), GATES, min_labelled=1)
    inputs = "100% of the model inputs drifted (a, b, c, d, e and others)"
    assert reasons[-1] == f"{inputs}; drift alone never triggers retraining."


def test_one_class_has_no_roc_auc_but_a_base_rate() -> None:
    metrics = performance(pd.DataFrame({LABEL: [0.0, 0.0, None], "score": [0.2, 0.4, 0.9]}))
    assert metrics["roc_auc"] is None
    assert metrics["base_rate"] == 0.0
    assert metrics["mean_score"] == pytest.approx(0.3)
    assert metrics["calibration_gap"] == pytest.approx(0.3)


def test_no_labels_or_nan_scores_give_no_metric() -> None:
    assert set(performance(pd.DataFrame({LABEL: [None, None], "score": [0.2, 0.4]})).values()) == {None}
    spoiled = performance(pd.DataFrame({LABEL: [0.0, 1.0], "score": [0.2, math.nan]}))
    assert {name for name, value in spoiled.items() if value is not None} == {"base_rate"}
    assert difference(0.7, None) is None


def example_table(**columns: Any) -> pa.Table:
    types = {LABEL: pa.float64(), LABEL_KNOWN_AT: pa.timestamp("us", "UTC"), PREDICTED_AT: pa.timestamp("us", "UTC")}
    return pa.table({name: pa.array(values, types.get(name)) for name, values in columns.items()})


def predicted(ids: list[str], at: datetime = NOON) -> pa.Table:
    return example_table(**{EXAMPLE_ID: ids, PREDICTED_AT: [at] * len(ids), "score": [0.5] * len(ids)})


def labels(rows: list[tuple[str, float | None, datetime | None]]) -> pa.Table:
    ids, label, known = zip(*rows, strict=True)
    return example_table(**{EXAMPLE_ID: list(ids), LABEL: list(label), LABEL_KNOWN_AT: list(known)})


def test_labels_count_only_once_known() -> None:
    examples = labels(
        [
            ("later", 1.0, NOON + 3 * HOUR),
            ("now", 0.0, NOON + 2 * HOUR),
            ("undated", 1.0, None),
            ("never", None, None),
        ]
    )
    ids = ["never", "now", "later", "undated"]
    joined = join_labels(predicted(ids), examples, NOON + 2 * HOUR, maturity=2 * HOUR)
    assert joined["status"].to_pylist() == ["without_label", "matured", "unmatured", "without_label"]
    assert joined[LABEL].to_pylist() == [None, 0.0, None, None]
    assert joined[LABEL_KNOWN_AT].to_pylist() == [None, NOON + 2 * HOUR, None, None]
    assert joined[EXAMPLE_ID].to_pylist() == ids
    assert maturity_counts(joined) == {"matured": 1, "unmatured": 1, "without_label": 2}


def test_a_label_known_early_counts_once_every_label_of_its_age_is_known() -> None:
    early = labels([("early", 1.0, NOON + HOUR)])
    for hours, status in ((1, "unmatured"), (2, "matured")):
        joined = join_labels(predicted(["early"]), early, NOON + hours * HOUR, maturity=2 * HOUR)
        assert joined["status"].to_pylist() == [status]


def test_a_label_that_never_comes_is_not_counted_as_missing_before_maturity() -> None:
    joined = join_labels(predicted(["never"]), labels([("never", None, None)]), NOON + HOUR, maturity=2 * HOUR)
    assert maturity_counts(joined) == {"matured": 0, "unmatured": 1, "without_label": 0}


def test_a_prediction_must_belong_to_exactly_one_example() -> None:
    with pytest.raises(InvalidInput, match="1 predictions have no example"):
        join_labels(predicted(["a", "x"]), labels([("a", 1.0, NOON)]), NOON, HOUR)
    with pytest.raises(CorruptData, match="1 examples appear more than once"):
        join_labels(predicted(["a"]), labels([("a", 1.0, NOON), ("a", 0.0, NOON)]), NOON, HOUR)
    with pytest.raises(CorruptData, match="1 predictions appear more than once"):
        join_labels(predicted(["a", "a"]), labels([("a", 1.0, NOON)]), NOON, HOUR)


def feature_rows(ids: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            EXAMPLE_ID: ids,
            PREDICTED_AT: pd.to_datetime([NOON] * len(ids), utc=True),
            DAY: [NOON.date()] * len(ids),
            LABEL: 1.0,
            "x": np.float32(1),
            "kind": None,
        }
    )


def test_predictions_hold_no_label_and_are_in_a_fixed_order() -> None:
    inputs = ModelInputs(numeric=("x",), categorical=("kind",))
    table = prediction_table(predicted(["a", "b"]), feature_rows(["b", "a"]), [0.2, 0.1], inputs, "3")
    assert table.column_names == [EXAMPLE_ID, PREDICTED_AT, DAY, "x", "kind", "score", "model_version"]
    assert table["score"].to_pylist() == [0.1, 0.2]
    assert table["kind"].null_count == 2


@pytest.mark.parametrize(
    ("ids", "scores", "message"),
    [
        (["a", "b"], [0.1, math.nan], "1 of 2 scores are not probabilities"),
        (["a", "b"], [0.1, 1.5], "1 of 2 scores are not probabilities"),
        (["a", "b"], [0.1], "of shape"),
        (["a", "a", "b"], [0.1, 0.1, 0.1], "2 examples became 3 feature rows"),
        (["a"], [0.1], "2 examples became 1 feature rows"),
    ],
)
def test_invalid_scores_are_refused(ids: list[str], scores: list[float], message: str) -> None:
    with pytest.raises(CheckFailed, match=message):
        prediction_table(predicted(["a", "b"]), feature_rows(ids), scores, ModelInputs(("x",), ("kind",)), "3")
