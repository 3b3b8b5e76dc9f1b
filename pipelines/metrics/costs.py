"""The cost of alarms, which are the scores from a threshold on: the cheapest threshold, and the mean cost at one."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from pipelines.metrics.curves import POINTS, thin
from pipelines.metrics.scores import Array, block_draws, intervals
from pipelines.params.costs import Costs


def row_costs(labels: ArrayLike, scores: ArrayLike, threshold: float, costs: Costs) -> Array:
    """The cost of each row: (N,), NaN where the score is not finite."""
    y, s = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    cost = np.where(s >= threshold, costs.false_alarm + (costs.true_alarm - costs.false_alarm) * y, costs.miss * y)
    return np.where(np.isfinite(s), cost, np.nan)


def cost_curve(labels: ArrayLike, scores: ArrayLike, costs: Costs) -> pd.DataFrame:
    """Columns threshold, cost (mean per row), alarms (share of rows), for all thresholds that matter, rising.

    Thresholds are 0 (always an alarm), the midpoints of distinct scores, and 1 (an alarm only at a score of 1). Of two
    scores with no number between them the higher one is the threshold.
    """
    y, s = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    order = np.argsort(s, kind="stable")
    s, y = s[order], y[order]
    distinct = np.unique(s)
    lower, upper = distinct[:-1], distinct[1:]
    middle = (lower + upper) / 2
    thresholds = np.unique(np.concatenate([[0.0], np.where(middle > lower, middle, upper), [1.0]]))
    below = np.searchsorted(s, thresholds, side="left")
    misses = np.concatenate([[0.0], np.cumsum(y)])[below]
    hits, alarms = y.sum() - misses, len(s) - below
    total = costs.miss * misses + costs.true_alarm * hits + costs.false_alarm * (alarms - hits)
    rows = max(len(s), 1)
    return pd.DataFrame({"threshold": thresholds, "cost": total / rows, "alarms": alarms / rows})


def thin_cost_curve(labels: ArrayLike, scores: ArrayLike, costs: Costs, points: int = POINTS) -> pd.DataFrame:
    """At most `points` rows of the curve, with both ends."""
    curve = cost_curve(labels, scores, costs)
    return curve.iloc[thin(len(curve), points)].reset_index(drop=True)


def best_threshold(labels: ArrayLike, scores: ArrayLike, costs: Costs) -> float:
    """The threshold with the least mean cost; of equal ones the highest, which has the fewest alarms."""
    curve = cost_curve(labels, scores, costs)
    return float(curve["threshold"][curve["cost"] == curve["cost"].min()].iloc[-1])


def mean_cost(
    cost: NDArray[np.float64], blocks: ArrayLike, resamples: int, seed: int
) -> tuple[float, tuple[float, float]]:
    """The mean of `row_costs`, and its 95 % interval over the same resampled blocks as in `Sample`."""
    code: NDArray[np.int64] = np.unique(np.asarray(blocks), return_inverse=True)[1]
    count = int(code.max()) + 1 if len(code) else 0
    if not count:
        return float("nan"), (float("nan"), float("nan"))
    sums, rows = np.bincount(code, cost, count), np.bincount(code, minlength=count)
    draws = block_draws(count, resamples, seed)
    resampled_costs = {"cost": (draws @ sums) / (draws @ rows)}
    return float(cost.mean()), intervals(resampled_costs, count)["cost"]
