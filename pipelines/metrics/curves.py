"""Curves of a binary probability forecast, with few enough points to draw."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from pipelines.metrics.scores import mass_bins

POINTS = 200


def roc_curve(labels: ArrayLike, scores: ArrayLike, points: int = POINTS) -> pd.DataFrame:
    """From (0, 0) to (1, 1), at most `points` rows; empty where a class is absent.

    Returns:
        Columns false_positive_rate, true_positive_rate, threshold.
    """
    hits, misses, thresholds = _cumulate(labels, scores)
    if not len(hits) or not hits[-1] or not misses[-1]:
        return pd.DataFrame({"false_positive_rate": [], "true_positive_rate": [], "threshold": []}, dtype=np.float64)
    curve = pd.DataFrame(
        {
            "false_positive_rate": np.append(0.0, misses / misses[-1]),
            "true_positive_rate": np.append(0.0, hits / hits[-1]),
            "threshold": np.append(1.0, thresholds),
        }
    )
    return curve.iloc[thin(len(curve), points)].reset_index(drop=True)


def precision_recall_curve(labels: ArrayLike, scores: ArrayLike, points: int = POINTS) -> pd.DataFrame:
    """Columns recall, precision, threshold, by rising recall, at most `points` rows; empty without a positive."""
    hits, misses, thresholds = _cumulate(labels, scores)
    if not len(hits) or not hits[-1]:
        return pd.DataFrame({"recall": [], "precision": [], "threshold": []}, dtype=np.float64)
    curve = pd.DataFrame({"recall": hits / hits[-1], "precision": hits / (hits + misses), "threshold": thresholds})
    return curve.iloc[thin(len(curve), points)].reset_index(drop=True)


def calibration_curve(labels: ArrayLike, scores: ArrayLike, bins: int = 10) -> pd.DataFrame:
    """Columns mean_score, observed_rate, rows: one row per bin of equal mass that is not empty."""
    y, s = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    grouped = pd.DataFrame({"bin": mass_bins(s, bins), "score": s, "label": y}).groupby("bin")
    return pd.DataFrame(
        {
            "mean_score": grouped["score"].mean(),
            "observed_rate": grouped["label"].mean(),
            "rows": grouped.size(),
        }
    ).reset_index(drop=True)


def thin(length: int, points: int) -> NDArray[np.int64]:
    """At most `points` evenly spread positions in range(length), with both ends."""
    return np.unique(np.linspace(0, length - 1, min(points, length)).round().astype(np.int64))


def _cumulate(
    labels: ArrayLike, scores: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """True and false positives at each distinct score, from the highest down."""
    y, s = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    order = np.argsort(-s, kind="stable")
    last = np.flatnonzero(np.append(np.diff(s[order]) != 0, True)) if len(s) else np.zeros(0, dtype=np.int64)
    hits = np.cumsum(y[order])[last]
    return hits, last + 1.0 - hits, s[order][last]
