"""Distances between two samples of one column, for any finite numbers and any categories.

They follow Evidently's definitions, and stand in for Evidently where it fails: it bins every column for its plots, and
its standard deviations overflow from about 1e154 on.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

LEAST_SPREAD = 0.001  # Evidently's, so that a reference that hardly varies gives no infinite distance
SQUARES_FIT = 1e150  # magnitude below which squares surely fit a float64


def squares_fit(*samples: ArrayLike) -> bool:
    """Whether the standard deviation of each sample can be computed without scaling."""
    return all(_largest(np.asarray(sample, dtype=np.float64)) < SQUARES_FIT for sample in samples)


def numeric_distance(current: ArrayLike, reference: ArrayLike) -> float:
    """The Wasserstein distance in standard deviations of the reference, of at least 0.001.

    Args:
        current, reference: finite, not empty.

    Returns:
        A finite number; the largest float64 where the distance exceeds it.
    """
    ours, theirs = (np.asarray(sample, dtype=np.float64) for sample in (current, reference))
    scale, own = max(_scale(ours), _scale(theirs)), _scale(theirs)
    spread = max(float(np.std(theirs / own)) * (own / scale), LEAST_SPREAD / scale)
    with np.errstate(over="ignore"):
        distance = np.float64(wasserstein_distance(theirs / scale, ours / scale)) / spread
    return min(float(distance), sys.float_info.max)


def categorical_distance(current: pd.Series[str], reference: pd.Series[str]) -> float:
    """The Jensen-Shannon distance (natural logarithm) of the shares of each category; neither sample is empty."""
    shares = pd.concat([sample.value_counts(normalize=True) for sample in (reference, current)], axis=1).fillna(0.0)
    distance = float(jensenshannon(*shares.to_numpy(np.float64).T))
    return distance if np.isfinite(distance) else 0.0  # rounding may leave the root of less than 0


def _scale(values: NDArray[np.float64]) -> float:
    """The divisor with which squares fit a float64; 1 where they fit without."""
    return 1.0 if squares_fit(values) else _largest(values)


def _largest(values: NDArray[np.float64]) -> float:
    return float(np.abs(values).max())
