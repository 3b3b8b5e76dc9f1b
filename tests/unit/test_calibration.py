"""Calibrations are monotone, agree with scikit-learn, and are the same in numpy and in the graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from pipelines.errors import CheckFailed
from pipelines.metrics.scores import measure
from pipelines.training.calibration import (
    GRID,
    Calibration,
    Isotonic,
    Platt,
    Uncalibrated,
    fit_calibration,
    fit_isotonic,
    fit_platt,
    held_out_losses,
)
from pipelines.training.onnx_graph import IR, OPSET, Graph


def in_graph(calibration: Calibration, log_odds: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    graph = Graph()
    out = calibration.add(graph, "log_odds")
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        graph.nodes,
        "calibration",
        [value("log_odds", TensorProto.FLOAT, ["N", 1])],
        [value(out, TensorProto.FLOAT, ["N", 1])],
        graph.constants,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"log_odds": log_odds.astype(np.float32)[:, None]})[0][:, 0])


@st.composite
def isotonics(draw: st.DrawFn) -> Isotonic:
    knots = sorted(draw(st.sets(st.integers(-12 * GRID, 12 * GRID), min_size=1, max_size=150)))
    shares = st.floats(
        0, 1, allow_subnormal=False
    )  # means of labels; between tiny numbers numpy's interpolation is not monotone
    values = sorted(draw(st.lists(shares, min_size=len(knots), max_size=len(knots))))
    return Isotonic(tuple(k / GRID for k in knots), tuple(values))


calibrations = (
    st.just(Uncalibrated())
    | st.builds(Platt, st.floats(0.01, 10), st.floats(-10, 10))
    | isotonics()
)  # fmt: skip
odds = st.lists(st.floats(-30, 30, width=32), max_size=30)


@given(calibrations, odds)
def test_graph_and_numpy_agree_and_calibrations_are_monotone(calibration: Calibration, drawn: list[float]) -> None:
    knots = np.array(getattr(calibration, "knots", (0.0,)))
    beside = np.concatenate([np.nextafter(np.float32(knots), np.float32(end)) for end in (-100, 100)])
    log_odds = np.sort(np.concatenate([drawn, knots, beside, [-1e30, 1e30, -np.inf, np.inf]]).astype(np.float32))
    native = calibration.apply(log_odds.astype(np.float64))
    scores = in_graph(calibration, log_odds)
    assert np.abs(scores - native).max() <= 1e-5
    assert (np.diff(native) >= 0).all() and native.min() >= 0 and native.max() <= 1


def sample(rows: int = 4000, seed: int = 0) -> tuple[Any, Any, Any]:
    """Log-odds that are too steep and shifted, labels drawn from the true probabilities, and days."""
    draw = np.random.default_rng(seed)
    log_odds = draw.normal(-0.5, 1.5, rows)
    labels = (draw.random(rows) < expit(0.5 * log_odds - 0.7)).astype(float)
    return log_odds, labels, np.arange(rows) * 20 // rows


def test_platt_equals_the_logistic_regression_of_the_label_on_the_log_odds() -> None:
    log_odds, labels, _ = sample()
    theirs = LogisticRegression(C=np.inf, tol=1e-10).fit(log_odds[:, None], labels)
    ours = fit_platt(log_odds, labels)
    assert ours.slope == pytest.approx(theirs.coef_[0, 0], abs=2e-3)  # its targets are kept away from 0 and 1
    assert ours.intercept == pytest.approx(theirs.intercept_[0], abs=2e-3)


def test_platt_stays_finite_where_the_label_is_separated() -> None:
    log_odds = np.linspace(-4, 4, 200)
    fitted = fit_platt(log_odds, (log_odds > 0).astype(float))
    assert np.isfinite([fitted.slope, fitted.intercept]).all() and fitted.slope > 1


@pytest.mark.parametrize("scale", [1.0, 1e-3, 50.0])
def test_platt_converges_at_any_scale(scale: float) -> None:
    log_odds, labels, _ = sample()
    base, scaled = fit_platt(log_odds, labels), fit_platt(log_odds * scale, labels)
    assert scaled.slope * scale == pytest.approx(base.slope, rel=1e-3)
    assert scaled.intercept == pytest.approx(base.intercept, abs=1e-3)


def test_isotonic_equals_scikit_learn_on_rounded_log_odds() -> None:
    log_odds, labels, _ = sample()
    rounded = np.round(log_odds * GRID) / GRID
    theirs = IsotonicRegression(out_of_bounds="clip", y_min=1 / 4002, y_max=1 - 1 / 4002).fit(rounded, labels)
    np.testing.assert_allclose(fit_isotonic(log_odds, labels).apply(log_odds), theirs.predict(log_odds), atol=1e-12)


def test_isotonic_is_never_certain() -> None:
    log_odds = np.linspace(-4, 4, 98)
    fitted = fit_isotonic(log_odds, (log_odds > 0).astype(float)).apply(np.array([-9.0, 9.0]))
    np.testing.assert_allclose(fitted, [0.01, 0.99])


@pytest.mark.parametrize("method", ["platt", "isotonic", "auto"])
def test_a_calibration_corrects_the_scores_of_other_rows(method: str) -> None:
    calibration, facts = fit_calibration(method, *sample())
    log_odds, labels, _ = sample(seed=1)
    before, after = measure(labels, expit(log_odds)), measure(labels, calibration.apply(log_odds))
    assert before["calibration_error"] > 0.1 and after["calibration_error"] < 0.03
    assert facts.asked == method and facts.method != "none"


def test_auto_leaves_calibrated_scores_alone() -> None:
    draw = np.random.default_rng(1)
    truth = draw.random(20_000)
    labels = (draw.random(20_000) < truth).astype(float)
    calibration, facts = fit_calibration("auto", logit(truth), labels, np.arange(20_000) // 1000)
    after = measure(labels, calibration.apply(logit(truth)))
    assert after["calibration_error"] < 0.015
    losses = [loss for loss in facts.held_out_log_loss.values() if loss is not None]
    assert len(losses) == len(facts.held_out_log_loss)
    assert facts.held_out_log_loss[facts.method] == min(losses)


def test_auto_compares_on_days_that_it_did_not_fit_on() -> None:
    """The early half follows one line, the late half another: on the late half the early line must lose."""
    draw = np.random.default_rng(2)
    log_odds, days = draw.normal(0, 1.5, 8000), np.arange(8000) // 1000
    late = days >= 4
    labels = (draw.random(8000) < expit(log_odds + np.where(late, 0.0, 2.5))).astype(float)
    calibration, facts = fit_calibration("auto", log_odds, labels, days)
    assert isinstance(calibration, Uncalibrated) and facts.method == "none"
    flipped = labels.copy()
    flipped[~late] = 1 - flipped[~late]
    assert set(held_out_losses(log_odds, flipped, days)) == {
        "none",
        "isotonic",
    }  # the slope of the early line is negative


@pytest.mark.parametrize(
    "harm",
    [
        lambda log_odds, labels, days: (log_odds, labels * 0, days),
        lambda log_odds, labels, days: (log_odds, labels, days * 0),
        lambda log_odds, labels, days: (log_odds, np.where(days < 10, 0.0, labels), days),
    ],
)
def test_auto_calibrates_nothing_where_it_cannot_tell(harm: Any) -> None:
    calibration, facts = fit_calibration("auto", *harm(*sample()))
    assert isinstance(calibration, Uncalibrated) and facts.held_out_log_loss == {}


def test_a_named_method_that_cannot_be_fitted_is_refused() -> None:
    log_odds, labels, days = sample()
    with pytest.raises(CheckFailed, match="every validation label is the same"):
        fit_calibration("isotonic", log_odds, labels * 0, days)
    for backwards in (-log_odds, log_odds * 0):
        with pytest.raises(CheckFailed, match="do not rise with the label"):
            fit_calibration("platt", backwards, labels, days)
