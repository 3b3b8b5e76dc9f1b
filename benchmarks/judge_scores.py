"""Simulated independent rows with known truth: labels, and the scores of a champion and a challenger.

The logit of the true probability is normal; both models see it with noise, partly shared, so that equal models
differ by 0.06 (root mean square) as two training runs do, and a worse one has exactly the requested rise of Brier.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

CENTRE, SPREAD, SHARED, OWN = -1.5, 1.0, 0.3, 0.28
LOSS_CLIP = 0.01
Array = np.ndarray[Any, Any]


@lru_cache
def excess(variance: float) -> float:
    """The rise of Brier caused by noise of this variance on the logit, by quadrature."""
    x, w = np.polynomial.hermite_e.hermegauss(80)
    w = w / w.sum()
    logit = CENTRE + SPREAD * x[:, None]
    return float(w @ ((expit(logit + math.sqrt(variance) * x) - expit(logit)) ** 2) @ w)


@lru_cache
def champion_brier() -> float:
    x, w = np.polynomial.hermite_e.hermegauss(80)
    p = expit(CENTRE + SPREAD * x)
    return float((w / w.sum()) @ (p * (1 - p))) + excess(SHARED**2 + OWN**2)


@lru_cache
def own_noise(rise: float) -> float:
    """The challenger's own noise that makes its Brier higher by `rise` of the champion's."""
    target = excess(SHARED**2 + OWN**2) + rise * champion_brier()
    return math.sqrt(brentq(lambda v: excess(SHARED**2 + v) - target, 1e-6, 9.0))


def draw(rng: np.random.Generator, shape: tuple[int, int], rise: float) -> tuple[Array, Array, Array]:
    """Labels, champion's and challenger's scores."""
    logit = rng.normal(CENTRE, SPREAD, shape)
    label = (rng.random(shape) < expit(logit)).astype(float)
    seen = logit + SHARED * rng.normal(size=shape)
    scores = [expit(seen + noise * rng.normal(size=shape)) for noise in (OWN, own_noise(rise))]
    return label, scores[0], scores[1]


def brier(label: Array, score: Array) -> Array:
    return (score - label) ** 2


def log_loss(label: Array, score: Array) -> Array:
    """Log loss of scores clipped to [LOSS_CLIP, 1 - LOSS_CLIP], rescaled to [0, 1]."""
    p = np.clip(score, LOSS_CLIP, 1 - LOSS_CLIP)
    loss = -np.where(label > 0, np.log(p), np.log1p(-p))
    low, high = -math.log1p(-LOSS_CLIP), -math.log(LOSS_CLIP)
    scaled: Array = (loss - low) / (high - low)
    return scaled
