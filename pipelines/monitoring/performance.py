"""The performance of a model's scores on a window."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from pipelines.metric_names import MONITORED
from pipelines.metrics.scores import measure
from pipelines.monitoring.predictions import SCORE
from pipelines.usecase import LABEL

Metrics = dict[str, float | None]


def labelled(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame[LABEL].notna()]


def has_both_classes(frame: pd.DataFrame) -> bool:
    return labelled(frame)[LABEL].nunique() == 2


def performance(frame: pd.DataFrame) -> Metrics:
    """Metrics over the labelled rows; None where one is undefined (no rows, one class only).

    `mean_score` is also over the labelled rows, so that it can be compared with `base_rate`.
    """
    rows = labelled(frame)
    label, score = rows[LABEL].to_numpy(np.float64), rows[SCORE].to_numpy(np.float64)
    if not len(rows):
        return dict.fromkeys((*MONITORED, "mean_score", "base_rate"))
    scores = measure(label, score)
    metrics = {name: defined(scores[name]) for name in MONITORED}
    return {**metrics, "mean_score": defined(score.mean()), "base_rate": defined(label.mean())}


def difference(minuend: float | None, subtrahend: float | None) -> float | None:
    """The difference; None where either value is None."""
    return None if minuend is None or subtrahend is None else minuend - subtrahend


def defined(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
