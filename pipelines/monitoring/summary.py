"""The summary of a monitored window: the figures that the retraining decision rests on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from pipelines.monitoring.drift import Drift
from pipelines.monitoring.health import told
from pipelines.monitoring.performance import difference, labelled, performance
from pipelines.monitoring.predictions import SCORE
from pipelines.usecase import DAY, ModelInputs

SHOWN = 10  # names with reasons, on a page


def summarize(
    current: pd.DataFrame,
    reference: pd.DataFrame,
    drift: Drift,
    inputs: ModelInputs,
    as_of: datetime,
    model_version: str,
    feature_health: Mapping[str, Any] | None = None,
    left_out: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """JSON-able figures over all rows (drift alone rests on the samples). A metric that is not defined is None.

    Args:
        current: outcomes of the window, with DAY.
        reference: the scored test window.
        feature_health: what the checks of the features said about these days.
        left_out: pages and reports that could not be made or read, and why.

    Returns:
        `window` covers the days that have outcomes, its end exclusive; `drift_share` is over the model inputs that
        could be measured, `unmeasured` names all other columns, with the reason; `score_drift` is the distance of the
        score's distribution; `left_out` names the pictures, pages and reports that are not there, with the reason.
    """
    metrics, reference_metrics = performance(current), performance(reference)
    columns = {column.column: column for column in drift.columns}
    return {
        "window": [min(current[DAY]).isoformat(), (max(current[DAY]) + timedelta(1)).isoformat()],
        "as_of": as_of.isoformat(),
        "model_version": model_version,
        "n_scored": len(current),
        "n_labelled": len(labelled(current)),
        "n_reference": len(reference),
        "drifted_columns": [name for name in drift.drifted if name in inputs.names],
        "drift_share": drift.share(inputs.names),
        "unmeasured": drift.unmeasured,
        "columns": {name: columns[name].as_json() for name in inputs.names},
        "metrics": metrics,
        "reference_metrics": reference_metrics,
        "roc_auc_drop": difference(reference_metrics["roc_auc"], metrics["roc_auc"]),
        "score_drift": columns[SCORE].distance,
        "feature_health": feature_health,
        "left_out": {**drift.left_out, **(left_out or {})},
    }


def tracked_metrics(summary: Mapping[str, Any]) -> dict[str, float | None]:
    """The summary's figures by name, as gates and MLflow read them."""
    named = ("roc_auc_drop", "score_drift", "drift_share", "n_labelled")
    return {**summary["metrics"], **{name: summary[name] for name in named}}


def about(summary: Mapping[str, Any]) -> list[str]:
    """What a reader of a report must know first."""
    start, end = summary["window"]
    return [
        f"Current: the days {start} to {end} (end exclusive), {summary['n_scored']} rows, {summary['n_labelled']} "
        f"of them with a label known by {summary['as_of']}.",
        f"Reference: the model's test window, {summary['n_reference']} rows. The plots rest on samples of both.",
        *_gaps(summary),
        told(summary["feature_health"]),
        "Drift says that the world has changed, as seasons do; whether the model still serves is decided by its "
        "performance. Drift alone never asks for retraining.",
    ]


def _gaps(summary: Mapping[str, Any]) -> list[str]:
    """What is not on the pages, and why."""
    unmeasured, left_out = summary["unmeasured"], summary["left_out"]
    lines = []
    if unmeasured:
        lines.append(f"Not measured, so nothing is said about their drift: {_named(unmeasured)}.")
    if left_out:
        lines.append(f"Left out: {_named(left_out)}. What was measured all the same is in the summary.")
    return lines


def _named(reasons: Mapping[str, str]) -> str:
    """The first of them with their reasons, and how many more there are."""
    named = "; ".join(f"{name} ({why})" for name, why in list(reasons.items())[:SHOWN])
    return named if len(reasons) <= SHOWN else f"{named}; and {len(reasons) - SHOWN} more, which the summary names"
