"""Scores of probability forecasts, with intervals from resampling whole blocks.

Losses within a block (a day) are dependent, so a block, not a row, is the unit that is resampled (Künsch 1989; here the
blocks do not overlap). All resamples share one sort of the scores and one set of sums per block, so they are cheap.
A metric that is undefined (no rows, one class, a score that is not finite) is NaN, never a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.metric_names import SCORES

Array = NDArray[np.float64]

CLIP = 1e-7  # forecasts are kept this far from 0 and 1 in the log loss, about float32's resolution


@dataclass(frozen=True)
class Sample:
    """Labels and scores, prepared for metrics under many weightings of the blocks.

    Attributes:
        order: rows by falling score.
        ties: position of the last row of each run of equal scores, along `order`.
        positive: the label (0 or 1) along `order`.
        block: index of each row's block along `order`.
        sums: (blocks, 5) sums of: rows, label, score, log loss, squared error.
        bins: (blocks, bins, 3) sums of rows, label and score in each calibration bin of equal mass.
        finite: whether every label and score is a finite number.
    """

    order: NDArray[np.int64]
    ties: NDArray[np.int64]
    positive: Array
    block: NDArray[np.int64]
    sums: Array
    bins: Array
    finite: bool

    @property
    def blocks(self) -> int:
        return len(self.sums)

    @classmethod
    def of(cls, labels: ArrayLike, scores: ArrayLike, blocks: ArrayLike | None = None, bins: int = 10) -> Sample:
        """The sample of labels (N,) of 0 and 1, scores (N,) in [0, 1] and blocks (N,), sortable; one by default."""
        given = [np.asarray(values, dtype=np.float64) for values in (labels, scores)]
        known = [np.isfinite(values) for values in given]
        y, s = (np.where(ok, values, 0.0) for ok, values in zip(known, given, strict=True))
        names = np.zeros(len(y), dtype=np.int64) if blocks is None else np.asarray(blocks)
        code = np.unique(names, return_inverse=True)[1].astype(np.int64)
        count = int(code.max()) + 1 if len(code) else 0
        order = np.argsort(-s, kind="stable")
        ties = np.flatnonzero(np.append(np.diff(s[order]) != 0, True)) if len(s) else np.zeros(0, dtype=np.int64)
        clipped = np.clip(s, CLIP, 1 - CLIP)
        loss = -(y * np.log(clipped) + (1 - y) * np.log1p(-clipped))
        per_row = (np.ones_like(y), y, s, loss, (s - y) ** 2)
        cell = code * bins + mass_bins(s, bins)
        cells = [np.bincount(cell, v, count * bins) for v in per_row[:3]]
        return cls(
            order=order,
            ties=ties,
            positive=y[order],
            block=code[order],
            sums=np.stack([np.bincount(code, v, count) for v in per_row], axis=1),
            bins=np.stack(cells, axis=1).astype(np.float64).reshape(count, bins, 3),
            finite=all(ok.all() for ok in known),  # where not, nothing is measured, and zeros stand in
        )

    def measure(self, weights: Array | None = None) -> dict[str, float]:
        """Every metric, with each block counted `weights` times ((blocks,), by default once)."""
        weight = np.ones(self.blocks) if weights is None else weights
        rows, positives, score, loss, error = weight @ self.sums if self.blocks else np.zeros(5)
        if not self.finite or rows == 0:
            return dict.fromkeys(SCORES, float("nan"))
        rate = positives / rows
        roc_auc, pr_auc = self._areas(weight) if 0 < positives < rows else (float("nan"), float("nan"))
        reference = rate * (1 - rate)
        cells = np.tensordot(weight, self.bins, axes=1)
        return {
            "roc_auc": roc_auc,
            "pr_auc": pr_auc,
            "log_loss": float(loss / rows),
            "brier": float(error / rows),
            "skill": float(1 - error / rows / reference) if reference > 0 else float("nan"),
            "calibration_error": float(np.abs(cells[:, 2] - cells[:, 1]).sum() / rows),
            "calibration_gap": float(abs(score / rows - rate)),
        }

    def _areas(self, weights: Array) -> tuple[float, float]:
        """Areas under the ROC curve (trapezoids) and under the precision-recall curve (steps)."""
        weight = weights[self.block]
        hits = np.cumsum(weight * self.positive)[self.ties]
        counts = np.cumsum(weight)[self.ties]
        misses = counts - hits
        gains = np.diff(hits, prepend=0.0)
        area = float((np.diff(misses, prepend=0.0) * (hits - gains / 2)).sum())
        precision = np.divide(hits, counts, out=np.zeros_like(hits), where=counts > 0)
        return area / float(hits[-1] * misses[-1]), float((gains * precision).sum() / hits[-1])

    def resample(self, resamples: int, seed: int) -> dict[str, Array]:
        """Metrics of `resamples` draws of as many blocks with replacement: name -> (resamples,).

        The draws depend on the number of blocks and the seed alone, so two samples of the same rows are paired.
        """
        results = [self.measure(draw) for draw in block_draws(self.blocks, resamples, seed)]
        return {name: np.array([one[name] for one in results]) for name in SCORES}


def block_draws(blocks: int, resamples: int, seed: int) -> Array:
    """(resamples, blocks): how often each block is drawn. The same blocks and seed give the same draws."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(blocks, np.full(blocks, 1 / max(blocks, 1)), size=resamples).astype(np.float64)


def mass_bins(scores: Array, bins: int) -> NDArray[np.int64]:
    """Bin (0 to bins - 1) of each score, with bins of equal mass; equal scores share a bin."""
    if not len(scores):
        return np.zeros(0, dtype=np.int64)
    edges = np.quantile(scores, np.linspace(0, 1, bins + 1)[1:-1])
    return np.searchsorted(edges, scores, side="left").astype(np.int64)


def measure(labels: ArrayLike, scores: ArrayLike, bins: int = 10) -> dict[str, float]:
    """Every metric of SCORES.

    roc_auc; pr_auc (average precision); log_loss; brier; skill (1 - brier / brier of the base rate); calibration_error
    (expected calibration error over bins of equal mass); calibration_gap (|mean score - base rate|).
    """
    return Sample.of(labels, scores, bins=bins).measure()


def intervals(resampled: Mapping[str, Array], blocks: int, level: float = 0.95) -> dict[str, tuple[float, float]]:
    """Percentile interval of each resampled metric; NaN with one block, or where a tenth of the draws are undefined."""
    tail = (1 - level) / 2
    return {name: _interval(values, tail, blocks) for name, values in resampled.items()}


def _interval(values: Array, tail: float, blocks: int) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if blocks < 2 or len(finite) < max(1, 0.9 * len(values)):
        return float("nan"), float("nan")
    low, high = np.quantile(finite, [tail, 1 - tail])
    return float(low), float(high)


def differences(candidate: Sample, champion: Sample, resamples: int, seed: int) -> dict[str, float]:
    """Candidate minus champion on the same rows.

    Returns:
        `METRIC_delta`, and `METRIC_delta_low`, `METRIC_delta_high`: its 95 % interval over paired resamples of blocks.
    """
    ours, theirs = candidate.measure(), champion.measure()
    our_draws, their_draws = candidate.resample(resamples, seed), champion.resample(resamples, seed)
    spread = intervals({name: our_draws[name] - their_draws[name] for name in SCORES}, candidate.blocks)
    result: dict[str, float] = {}
    for name in SCORES:
        result[f"{name}_delta"] = ours[name] - theirs[name]
        result[f"{name}_delta_low"], result[f"{name}_delta_high"] = spread[name]
    return result


def jsonable(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same values with None for NaN, which JSON lacks."""
    return {name: _without_nan(value) for name, value in values.items()}


def _without_nan(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
