"""Distances between two samples of one column, for any finite numbers and any categories.

They are those that Evidently computes and shows, whose definitions these are. It is not asked where it cannot answer:
it bins every column for its pictures, and its standard deviations overflow from about 1e154 on.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

LEAST_SPREAD = 0.001  # Evidently's: a reference that hardly varies makes no distance infinite
SQUARES_FIT = 1e150  # magnitudes from which on squares no longer fit a float64


def squares_fit(*samples: ArrayLike) -> bool:
    """Whether a standard deviation of each sample can be computed as it stands."""
    return all(_largest(np.asarray(sample, dtype=np.float64)) < SQUARES_FIT for sample in samples)


def numeric_distance(current: ArrayLike, reference: ArrayLike) -> float:
    """The Wasserstein distance in standard deviations of the reference, or in 0.001 where those are less.

    Args:
        current, reference: finite, not empty.

    Returns:
        A finite number; the largest there is where the distance is larger.
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
    """What to divide by for the squares to fit; 1 where they do."""
    return 1.0 if squares_fit(values) else _largest(values)


def _largest(values: NDArray[np.float64]) -> float:
    return float(np.abs(values).max())
