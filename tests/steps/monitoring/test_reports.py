"""Reports of drift and quality, with Evidently itself."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pipelines.artifacts.evaluation import Evaluation, scored_uri
from pipelines.artifacts.summary import Summary
from pipelines.context import Context
from pipelines.errors import CorruptData, InvalidInput, MissingData
from pipelines.monitoring import report_drift
from pipelines.usecase import DAY, LABEL, LABEL_KNOWN_AT
from tests.editing import edit, rewrite
from tests.steps.monitoring.desk import INPUTS, ROWS, WINDOW, Desk, as_table, examples


def test_the_same_population_has_no_drift_and_keeps_the_model(desk: Desk) -> None:
    desk.frame = examples(4000)
    desk.put_reference(examples(4000, seed=1))
    outputs = desk.report()
    summary = desk.summary(outputs)
    assert summary["drifted_columns"] == []
    assert summary["window"] == ["2020-01-01", "2020-01-03"]
    assert (summary["n_labelled"], summary["n_scored"], summary["model_version"]) == (4000, 4000, "3")
    assert summary["metrics"]["roc_auc"] == pytest.approx(summary["reference_metrics"]["roc_auc"], abs=0.1)
    assert summary["roc_auc_drop"] == summary["reference_metrics"]["roc_auc"] - summary["metrics"]["roc_auc"]
    assert set(summary["columns"]) == set(INPUTS.names)
    assert outputs.run_id is None
    assert outputs.metrics["roc_auc_drop"] == summary["roc_auc_drop"]
    assert desk.decide(outputs.summary_uri).verdict == "KEEP"


def test_a_shifted_input_is_named_and_does_not_trigger_retraining_by_itself(desk: Desk) -> None:
    desk.frame = examples(4000, shift=2.0)
    desk.put_reference(examples(4000, seed=1, shift=2.0).assign(y=lambda frame: frame["y"] + 3, kind="c"))
    outputs = desk.report()
    assert desk.summary(outputs)["drifted_columns"] == ["y", "kind"]
    assert desk.summary(outputs)["drift_share"] == pytest.approx(2 / 3)
    decided = desk.decide(outputs.summary_uri)
    assert decided.verdict == "KEEP"
    assert "67% of the model inputs drifted (y, kind)" in decided.reasons[-1]


def test_random_scores_trigger_retraining(desk: Desk) -> None:
    desk.frame[LABEL] = np.random.default_rng(7).integers(0, 2, ROWS).astype(float)
    decided = desk.decide(desk.report().summary_uri)
    assert decided.verdict == "RETRAIN"
    assert "roc_auc_drop is 0." in decided.reasons[0]
    record = desk.context.decisions.get(decided.decision_id)
    assert record and record["verdict"] == "RETRAIN" and record["kind"] == "retrain"


def test_the_reports_open_offline(desk: Desk) -> None:
    outputs = desk.report()
    assert outputs.quality_uri
    for uri in (outputs.report_uri, outputs.quality_uri):
        html = desk.context.data.store.read_bytes(uri).decode()
        assert not re.search(r"<(script|link|img|iframe)[^>]*\s(src|href)=", html)
        assert len(html) > 1_000_000


def test_the_summary_is_the_same_twice_and_small_samples_are_seeded(desk: Desk) -> None:
    rules = desk.context.params.monitoring.model_copy(update={"drift_sample": 50})
    desk.context = Context(
        desk.context.settings, desk.context.params.model_copy(update={"monitoring": rules}), desk.context.usecase
    )
    first = desk.context.data.store.read_bytes(desk.report().summary_uri)
    assert desk.context.data.store.read_bytes(desk.report().summary_uri) == first


def one_class(desk: Desk) -> None:
    desk.frame[LABEL] = 0.0


def no_labels(desk: Desk) -> None:
    desk.frame.loc[:, LABEL] = np.nan
    desk.frame.loc[:, LABEL_KNOWN_AT] = pd.NaT


@pytest.mark.parametrize(("spoil", "labelled"), [(one_class, ROWS), (no_labels, 0)])
def test_labels_that_allow_no_metric_give_no_metric_and_no_keep(
    desk: Desk, spoil: Callable[[Desk], None], labelled: int
) -> None:
    spoil(desk)
    outputs = desk.report()
    assert outputs.quality_uri is None
    assert outputs.metrics["roc_auc"] is None and outputs.metrics["roc_auc_drop"] is None
    assert outputs.metrics["n_labelled"] == labelled
    assert desk.decide(outputs.summary_uri).verdict != "KEEP"


def test_nan_scores_hold_the_decision(desk: Desk) -> None:
    uri = desk.join().outcomes_uri
    spoiled = desk.context.data.store.read_table(uri).to_pandas()
    spoiled.loc[0, "score"] = np.nan
    desk.context.data.store.write_table(uri, as_table(spoiled))
    outputs = report_drift.run(
        report_drift.Inputs(
            **WINDOW, outcomes_uri=uri, evaluation_uri=desk.evaluation_uri, model_version="3", run="m1"
        ),
        desk.context,
    )
    assert outputs.metrics["log_loss"] is None
    assert desk.decide(outputs.summary_uri).verdict == "HOLD"


def test_a_column_that_became_empty_has_drifted(desk: Desk) -> None:
    desk.frame = desk.frame.assign(y=np.float32("nan"), kind=None)
    summary = desk.summary(desk.report())
    assert {"y", "kind"} <= set(summary["drifted_columns"])
    assert summary["columns"]["y"]["distance"] is None


def test_a_tracked_report_reaches_the_tracker_with_finite_metrics_only(desk: Desk) -> None:
    one_class(desk)
    logged: dict[str, Any] = {}

    def log_report(**given: Any) -> str:
        logged.update(given)
        return "run-1"

    desk.context = desk.context.replaced(tracker=SimpleNamespace(log_report=log_report))
    assert desk.report(track=True).run_id == "run-1"
    assert (logged["run"], logged["model_version"]) == ("m1", "3")
    assert "roc_auc" not in logged["metrics"] and logged["metrics"]["n_labelled"] == ROWS
    assert set(logged["files"]) == {"drift.html", Summary.FILE}


def test_reports_refuse_what_they_cannot_compare(desk: Desk) -> None:
    with pytest.raises(InvalidInput, match="holds scores of version 3, not 4"):
        desk.report(model_version="4")
    with pytest.raises(MissingData, match=r"gone/metrics\.json does not exist"):
        desk.report(evaluation_uri="gone")
    desk.context.data.store.write_table(scored_uri(desk.evaluation_uri), pa.table({"score": [0.1]}))
    named = r"scored\.parquet is not the file that metrics\.json names; evaluate the model again"
    with pytest.raises(CorruptData, match=named):
        desk.report()
    desk.put_evaluation()
    with pytest.raises(InvalidInput, match="lacks the columns x, y, kind"):
        desk.report()
    desk.put_reference(examples(rows=1).iloc[:0].astype({DAY: "datetime64[ns]"}))
    with pytest.raises(MissingData, match="has no rows"):
        desk.report()
    edit(Evaluation.place(desk.evaluation_uri), lambda e: e.update(model_uri="another"))
    with pytest.raises(CorruptData, match=r"metrics\.json was altered"):
        desk.report()
    rewrite(Evaluation.place(desk.evaluation_uri), lambda e: e.pop("model_uri"))
    with pytest.raises(CorruptData, match=r"metrics\.json lacks model_uri; evaluate the model again"):
        desk.report()


def strict(content: bytes) -> Any:
    """Strict JSON: without NaN and infinities."""

    def refuse(constant: str) -> Any:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(content, parse_constant=refuse)


FILL = np.float32(9.96921e36)  # what NetCDF writes where there is no value


@pytest.mark.parametrize(
    ("ours", "theirs", "drifted"),
    [(FILL, FILL, False), (FILL, None, True), (None, np.float32(3e38), True), (np.inf, None, True)],
    ids=["the same on both sides", "in the window", "in the reference", "infinite"],
)
def test_a_stuck_sensor_is_reported_and_decided_on(desk: Desk, ours: Any, theirs: Any, drifted: bool) -> None:
    desk.frame = desk.frame if ours is None else desk.frame.assign(y=ours)
    desk.put_reference(examples(seed=1) if theirs is None else examples(seed=1).assign(y=theirs))
    logged: dict[str, Any] = {}
    desk.context = desk.context.replaced(tracker=SimpleNamespace(log_report=lambda **given: logged.update(given)))
    outputs = desk.report(track=True)
    summary = strict(desk.context.data.store.read_bytes(outputs.summary_uri))
    assert summary["columns"]["y"]["drifted"] is drifted and ("y" in summary["drifted_columns"]) is drifted
    assert summary["unmeasured"] == {} and summary["columns"]["x"]["distance"] is not None
    assert all(np.isfinite(value) for value in logged["metrics"].values())
    page = desk.context.data.store.read_bytes(outputs.report_uri).decode()
    assert ("picture of y" in page) == ("picture of y" in summary["left_out"])
    decided = desk.decide(outputs.summary_uri)
    assert decided.verdict == "KEEP" and desk.context.decisions.get(decided.decision_id)


def test_an_input_without_a_value_on_either_side_is_named_on_the_page_and_in_the_decision(desk: Desk) -> None:
    desk.frame = desk.frame.assign(y=np.float32("nan"))
    desk.put_reference(examples(seed=1).assign(y=np.float32("nan")))
    outputs = desk.report()
    summary = desk.summary(outputs)
    assert set(summary["unmeasured"]) == {"y"} and summary["columns"]["y"]["why"] == summary["unmeasured"]["y"]
    assert b"Not measured" in desk.context.data.store.read_bytes(outputs.report_uri)
    assert "(y could not be measured)" in desk.decide(outputs.summary_uri).reasons[-1]
