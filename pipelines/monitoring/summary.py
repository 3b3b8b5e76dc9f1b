"""The summary of a monitored window: the figures that the retraining decision rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import pandas as pd

from pipelines.artifacts.summary import FeatureHealth, Summary
from pipelines.monitoring.drift import Drift
from pipelines.monitoring.health import health_sentence
from pipelines.monitoring.performance import difference, labelled, performance
from pipelines.monitoring.predictions import SCORE
from pipelines.usecase import ModelInputs
from pipelines.windows import Window

SHOWN = 10  # names with reasons, on a page


@dataclass(frozen=True)
class SummarySources:
    """The data that a summary is computed from.

    Attributes:
        current: outcomes of the window.
        reference: the scored test window.
        feature_health: results of the feature checks on these days.
        left_out: pages that could not be drawn and reports that could not be read, and why.
    """

    current: pd.DataFrame
    reference: pd.DataFrame
    drift: Drift
    inputs: ModelInputs
    feature_health: FeatureHealth | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)


def summarize(sources: SummarySources, window: Window, as_of: datetime, model_version: str) -> Summary:
    """Compute the summary over all rows; only drift rests on samples. An undefined metric is None."""
    current, reference, drift, inputs = sources.current, sources.reference, sources.drift, sources.inputs
    metrics, reference_metrics = performance(current), performance(reference)
    columns = {column.column: column for column in drift.columns}
    return Summary(
        window=(window.start, window.end),
        as_of=as_of,
        model_version=model_version,
        n_scored=len(current),
        n_labelled=len(labelled(current)),
        n_reference=len(reference),
        drifted_columns=tuple(name for name in drift.drifted if name in inputs.names),
        drift_share=drift.share(inputs.names),
        unmeasured=drift.unmeasured,
        columns={name: columns[name].summary for name in inputs.names},
        metrics=metrics,
        reference_metrics=reference_metrics,
        roc_auc_drop=difference(reference_metrics["roc_auc"], metrics["roc_auc"]),
        score_drift=columns[SCORE].distance,
        feature_health=sources.feature_health,
        left_out={**drift.left_out, **sources.left_out},
        sha256={},
    )


def introduce(summary: Summary) -> list[str]:
    """The lines at the top of a report: windows, rows, what is missing, and what drift means."""
    start, end = summary.window
    return [
        f"Current: {start} to {end} (end exclusive), {summary.n_scored} rows, {summary.n_labelled} "
        f"of them with a label known by {summary.as_of.isoformat()}.",
        f"Reference: the model's test window, {summary.n_reference} rows. The plots rest on samples of both.",
        *_gaps(summary),
        health_sentence(summary.feature_health),
        "Drift shows that the data have changed, as they do with the seasons; whether the model is still good enough "
        "is decided by its performance. Drift alone never triggers retraining.",
    ]


def _gaps(summary: Summary) -> list[str]:
    """The lines about what is missing on the pages, and why."""
    lines = []
    if summary.unmeasured:
        lines.append(f"Not measured, so their drift is unknown: {_list_reasons(summary.unmeasured)}.")
    if summary.left_out:
        lines.append(
            f"Left out: {_list_reasons(summary.left_out)}. Their measurements, where there are any, are in the summary."
        )
    return lines


def _list_reasons(reasons: Mapping[str, str]) -> str:
    """The first names with their reasons, and how many more there are."""
    listing = "; ".join(f"{name} ({why})" for name, why in list(reasons.items())[:SHOWN])
    return listing if len(reasons) <= SHOWN else f"{listing}; and {len(reasons) - SHOWN} more, which the summary names"
