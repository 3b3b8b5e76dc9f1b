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


def summarize(
    current: pd.DataFrame,
    reference: pd.DataFrame,
    drift: Drift,
    inputs: ModelInputs,
    as_of: datetime,
    model_version: str,
    feature_health: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """JSON-able figures over all rows (drift alone rests on the samples). A metric that is not defined is None.

    Args:
        current: outcomes of the window, with DAY.
        reference: the scored test window.
        feature_health: what the checks of the features said about these days.

    Returns:
        `window` covers the days that have outcomes, its end exclusive; `drift_share` is over the model inputs;
        `score_drift` is the distance of the score's distribution.
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
        "columns": {name: columns[name].as_json() for name in inputs.names},
        "metrics": metrics,
        "reference_metrics": reference_metrics,
        "roc_auc_drop": difference(reference_metrics["roc_auc"], metrics["roc_auc"]),
        "score_drift": columns[SCORE].distance,
        "feature_health": feature_health,
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
        told(summary["feature_health"]),
        "Drift says that the world has changed, as seasons do; whether the model still serves is decided by its "
        "performance. Drift alone never asks for retraining.",
    ]
