"""From log-odds to probabilities, the same in numpy and in the graph, fitted on the validation window.

Platt's method is a line on log-odds (Platt 1999), isotonic regression any rising function of them (Zadrozny & Elkan
2002). The validation window has also selected the settings and may have stopped the fit, so the gain from calibration
is biased there; the test window gives an unbiased one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression

from pipelines.artifacts.card import CalibrationFacts
from pipelines.errors import CheckFailed
from pipelines.metrics.scores import measure
from pipelines.training.onnx_graph import Graph, Link

Array = NDArray[np.float64]

GRID = 8  # knots of log-odds lie on eighths, exact in float32 and far enough apart that no step is steep


class Calibration(Link, Protocol):
    def apply(self, log_odds: Array) -> Array:
        """Probabilities (N,) of log-odds (N,)."""

    def facts(self, setting: str) -> CalibrationFacts:
        """The method and its parameters; `asked` is the method of params.yaml."""


@dataclass(frozen=True)
class Uncalibrated:
    """Log-odds as they are."""

    def apply(self, log_odds: Array) -> Array:
        return np.asarray(expit(log_odds), dtype=np.float64)

    def add(self, graph: Graph, log_odds: str) -> str:
        return graph.add("Sigmoid", log_odds)

    def facts(self, setting: str) -> CalibrationFacts:
        return CalibrationFacts(asked=setting, method="none")


@dataclass(frozen=True)
class Platt:
    """The logistic function of `slope * log_odds + intercept`."""

    slope: float
    intercept: float

    def apply(self, log_odds: Array) -> Array:
        return np.asarray(expit(self.slope * log_odds + self.intercept), dtype=np.float64)

    def add(self, graph: Graph, log_odds: str) -> str:
        slope = graph.constant(np.array([[self.slope]], dtype=np.float32), "slope")
        intercept = graph.constant(np.array([self.intercept], dtype=np.float32), "intercept")
        return graph.add("Sigmoid", graph.add("Gemm", log_odds, slope, intercept))

    def facts(self, setting: str) -> CalibrationFacts:
        return CalibrationFacts(asked=setting, method="platt", slope=self.slope, intercept=self.intercept)


@dataclass(frozen=True)
class Isotonic:
    """Linear between knots, constant outside of them.

    Attributes:
        knots: log-odds, rising, at least one; multiples of 1 / GRID.
        values: probabilities at the knots, never falling.
    """

    knots: tuple[float, ...]
    values: tuple[float, ...]

    def apply(self, log_odds: Array) -> Array:
        return np.interp(log_odds, self.knots, self.values)

    def add(self, graph: Graph, log_odds: str) -> str:
        """The first value, and for each pair of knots its rise, times how far between them the log-odds lie."""
        knots, rises = np.array(self.knots), np.diff(self.values)
        starts = graph.constant(knots[:-1].astype(np.float32), "knots")
        widths = graph.constant(np.diff(knots).astype(np.float32), "widths")
        ends = (graph.constant(np.array(end, dtype=np.float32), name) for end, name in ((0, "none"), (1, "whole")))
        share = graph.add("Clip", graph.add("Div", graph.add("Sub", log_odds, starts), widths), *ends)
        rise = graph.add("MatMul", share, graph.constant(rises[:, None].astype(np.float32), "rises"))
        return graph.add("Add", rise, graph.constant(np.array([self.values[0]], dtype=np.float32), "lowest"))

    def facts(self, setting: str) -> CalibrationFacts:
        return CalibrationFacts(asked=setting, method="isotonic", knots=self.knots, values=self.values)


def fit_platt(log_odds: Array, labels: Array) -> Platt:
    """Maximum likelihood by Newton's method, with targets kept off 0 and 1 (Platt 1999), so that it is finite.

    Raises:
        CheckFailed: if the slope is not positive, or the log-odds are all the same.
    """
    positives = labels.sum()
    negatives = len(labels) - positives
    target = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    design = np.column_stack([log_odds, np.ones(len(labels))])
    line = np.array([1.0, 0.0])
    loss = _loss(design @ line, target)
    for _ in range(100):
        p = expit(design @ line)
        hessian = (design * (p * (1 - p))[:, None]).T @ design
        step, *_ = np.linalg.lstsq(hessian, design.T @ (target - p), rcond=None)
        while (candidate := _loss(design @ (line + step), target)) > loss and np.abs(step).max() > 1e-12:
            step = step / 2
        line, gain, loss = line + step, loss - candidate, candidate
        if gain <= 1e-14 * max(loss, 1.0):
            break
    slope, intercept = (float(part) for part in line)
    if not (np.isfinite(line).all() and slope > 0 and np.ptp(log_odds) > 0):
        raise CheckFailed(
            f"Platt's slope is {slope:.3g}: on validation the scores do not rise with the label; "
            "set training.calibration to none, or look at the training set"
        )
    return Platt(slope, intercept)


def _loss(log_odds: Array, target: Array) -> float:
    return float((np.logaddexp(0.0, log_odds) - target * log_odds).sum())


def fit_isotonic(log_odds: Array, labels: Array) -> Isotonic:
    """Isotonic regression on log-odds rounded to the grid, with values kept off 0 and 1 as by one further row."""
    cells, position = np.unique(np.round(log_odds * GRID) / GRID, return_inverse=True)
    rows = np.bincount(position).astype(np.float64)
    rates = np.bincount(position, labels) / rows
    off = 1 / (len(labels) + 2)
    regression = IsotonicRegression(y_min=off, y_max=1 - off, out_of_bounds="clip").fit(
        cells, rates, sample_weight=rows
    )
    knots, values = (
        np.asarray(ends, dtype=np.float64) for ends in (regression.X_thresholds_, regression.y_thresholds_)
    )
    return Isotonic(tuple(knots.tolist()), tuple(values.tolist()))


FITS: Mapping[str, Callable[[Array, Array], Calibration]] = {
    "none": lambda log_odds, labels: Uncalibrated(),
    "platt": fit_platt,
    "isotonic": fit_isotonic,
}  # the simplest first: it wins among equals


def fit_calibration(
    method: str, log_odds: ArrayLike, labels: ArrayLike, days: ArrayLike
) -> tuple[Calibration, CalibrationFacts]:
    """Fit the calibration of a method, or with `auto` of the best one, and give it with its facts.

    `auto` fits each method on the first half of the days and takes the one with the least log loss on the second half;
    that one is then fitted on all days. Where they cannot be compared (one day, one class in a half), it takes none.

    Args:
        log_odds, labels, days: (N,) of the validation window; days sort by time, and are days whatever the blocks are.

    Raises:
        CheckFailed: if a named method cannot be fitted. `auto` skips such a method.
    """
    odds, y = np.asarray(log_odds, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if method != "auto":
        if method != "none" and len(np.unique(y)) < 2:
            raise CheckFailed(
                f"training.calibration is {method}, but every validation label is the same; "
                "widen splits.validation_days, or set it to none or auto"
            )
        calibration = FITS[method](odds, y)
        return calibration, calibration.facts(method)
    losses = held_out_losses(odds, y, np.asarray(days))
    best = min(losses, key=lambda name: losses[name]) if losses else "none"
    calibration = FITS[best](odds, y)
    return calibration, calibration.facts("auto").model_copy(update={"held_out_log_loss": losses})


def held_out_losses(log_odds: Array, labels: Array, days: NDArray[Any]) -> dict[str, float]:
    """Log loss on the later half of the days, by method fitted on the earlier half; empty where there is none."""
    distinct = np.unique(days)
    early = days < distinct[len(distinct) // 2] if len(distinct) > 1 else np.zeros(len(days), dtype=bool)
    if any(len(np.unique(labels[half])) < 2 for half in (early, ~early)):
        return {}
    losses = {}
    for method, fit in FITS.items():
        try:
            calibration = fit(log_odds[early], labels[early])
        except CheckFailed:
            continue
        losses[method] = measure(labels[~early], calibration.apply(log_odds[~early]))["log_loss"]
    return losses
