"""Losses of rows, and the judge's verdicts on each loss where the truth is known by construction.

Two models are equal in expectation either because they are exchangeable (both see the truth through noise of one law),
or because their two forecasts have the same expected loss under the law that labels are drawn from. Rows of a block
share a shock. Each pair of models has its own earlier blocks, from which the scatter of its rollouts is estimated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import expit, ndtr, ndtri, softmax
from scipy.stats import t as student

from benchmarks.judge_claims import ALPHA, RISK, ever, least_rate, paths
from benchmarks.judge_scores import Array
from pipelines.errors import InvalidInput
from pipelines.judge.betting import Limits, Scatter, bets, log_e_above
from pipelines.losses import CLIP, DEFAULT, LOSSES, WIDEST_LOG, Loss, loss_of, pinball
from pipelines.usecase import UseCase
from tests.examples import seeds

PINBALL = pinball(0.9)
EVERY = {**LOSSES, PINBALL.name: PINBALL}
BINARY, REGRESSION = ("brier", "log_loss"), ("absolute", "squared", PINBALL.name)
MULTICLASS = ("multiclass_brier", "multiclass_log_loss")

probabilities = st.floats(0, 1)
simplexes = st.lists(st.floats(1e-3, 1), min_size=3, max_size=3).map(lambda p: (np.array(p) / sum(p)).tolist())


# --- values


@pytest.mark.parametrize(
    ("name", "score", "label", "expected"),
    [
        ("brier", [0.8, 0.8, 0, 1], [1, 0, 0, 0], [0.04, 0.64, 0, 1]),
        ("log_loss", [0.8, 0.8], [1, 0], [-math.log(0.8), -math.log(0.2)]),
        ("log_loss", [0, 1, 1, 0], [1, 0, 1, 0], [-math.log(CLIP)] * 2 + [-math.log(1 - CLIP)] * 2),
        ("absolute", [3, -2], [1, 1.5], [2, 3.5]),
        ("squared", [3, -2], [1, 1.5], [4, 12.25]),
        ("multiclass_brier", [[0.5, 0.3, 0.2], [1, 0, 0], [1, 0, 0]], [0, 0, 2], [0.38, 0, 2]),
        ("multiclass_log_loss", [[0.5, 0.3, 0.2], [0, 1, 0]], [2, 0], [-math.log(0.2), -math.log(CLIP)]),
        (PINBALL.name, [3, 1, 2], [1, 3, 2], [0.2, 1.8, 0]),
    ],
)
def test_a_loss_has_the_value_of_its_definition(name: str, score: Any, label: Any, expected: list[float]) -> None:
    rows = EVERY[name].rows(score, label)
    assert rows.dtype == np.float64 and rows == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", EVERY)
def test_no_rows_give_no_losses_and_a_row_with_a_missing_value_has_none(name: str) -> None:
    one, lacking = ([0.2, 0.5, 0.3], [0.2, 0.5, math.nan]) if name in MULTICLASS else (0.2, math.nan)
    rows = EVERY[name].rows([one, lacking, one, one], [1, 1, math.nan, 0])
    assert np.isnan(rows).tolist() == [False, True, True, False]
    assert EVERY[name].rows(np.empty((0, *np.shape(one))), []).shape == (0,)


@pytest.mark.parametrize("name", MULTICLASS)
@pytest.mark.parametrize("label", [-1, 3, 0.5])
def test_a_label_outside_the_classes_has_no_loss(name: str, label: float) -> None:
    assert np.isnan(LOSSES[name].rows([[0.2, 0.5, 0.3]], [label])).all()


def test_two_classes_have_twice_the_brier_score_and_the_same_log_loss() -> None:
    score, label = np.linspace(0, 1, 11), np.arange(11) % 2
    both = np.stack([1 - score, score], axis=1)
    assert LOSSES["multiclass_brier"].rows(both, label) == pytest.approx(2 * LOSSES["brier"].rows(score, label))
    assert LOSSES["multiclass_log_loss"].rows(both, label) == pytest.approx(LOSSES["log_loss"].rows(score, label))


def test_the_pinball_loss_is_least_at_its_quantile() -> None:
    label = np.random.default_rng(1).lognormal(size=2_001)
    mean = [PINBALL.rows(np.full(len(label), score), label).mean() for score in np.sort(label)]
    assert np.argmin(mean) == 1_800


@given(probabilities, probabilities, st.integers(0, 1), simplexes, simplexes, st.integers(0, 2))
def test_losses_of_a_row_never_differ_by_more_than_the_largest_difference(
    one: float, other: float, label: int, many: list[float], others: list[float], of_class: int
) -> None:
    for name in (*BINARY, *MULTICLASS):
        scores, known = ([many, others], of_class) if name in MULTICLASS else ([one, other], label)
        first, second = LOSSES[name].rows(scores, [known, known])
        assert abs(first - second) <= LOSSES[name].largest_difference + 1e-12


def test_the_largest_difference_is_attained_or_infinite_where_unbounded() -> None:
    for name in (*BINARY, *MULTICLASS):
        right_and_wrong = [[0.0, 1.0], [1.0, 0.0]] if name in MULTICLASS else [1.0, 0.0]
        right, wrong = LOSSES[name].rows(right_and_wrong, [1, 1])
        assert wrong - right == pytest.approx(LOSSES[name].largest_difference)
    assert [EVERY[name].largest_difference for name in REGRESSION] == [math.inf] * 3
    assert pytest.approx(math.log(0.99 / 0.01)) == WIDEST_LOG


@given(st.floats(0.01, 0.99), st.floats(-9, 9), st.floats(-9, 9))
def test_both_sides_of_a_pinball_loss_add_up_to_the_distance(quantile: float, score: float, label: float) -> None:
    sides = pinball(quantile).rows([score], [label]) + pinball(1 - quantile).rows([score], [label])
    assert sides == pytest.approx(LOSSES["absolute"].rows([score], [label]))


# --- what a use case declares


def declaring(**declared: Any) -> UseCase:
    return cast(UseCase, SimpleNamespace(name="toy", **declared))


def test_a_use_case_declares_its_loss_by_name_or_has_the_brier_score() -> None:
    assert loss_of(declaring()) is LOSSES[DEFAULT] is LOSSES["brier"]
    assert [loss_of(declaring(loss=name)) for name in LOSSES] == list(LOSSES.values())
    assert all(loss.name == name for name, loss in LOSSES.items())


def test_a_name_that_is_no_loss_is_refused_with_the_choices() -> None:
    with pytest.raises(InvalidInput, match=r"toy declares the loss 'hinge'; choose from brier, log_loss, absolute"):
        loss_of(declaring(loss="hinge"))


@pytest.mark.parametrize("quantile", [0, 1, -0.1, math.nan])
def test_a_quantile_lies_between_0_and_1(quantile: float) -> None:
    with pytest.raises(InvalidInput, match="must lie between 0 and 1"):
        pinball(quantile)
    assert pinball(0.25).name == "pinball_0.25"


# --- verdicts of the judge

PAIRS, ROLLOUTS, BLOCKS, EARLIER, ROWS = 16, 25, 60, 31, 16  # 25 rollouts for each of 16 pairs
SHARED = 0.2  # share of the variance that rows of a block have in common
P_CLASSES, TOWARDS = np.array([0.6, 0.3, 0.1]), np.array([1.0, -0.5, -0.5])
Shape = tuple[int, int, int]  # pairs, blocks, rows


class Forecasts(NamedTuple):
    """Forecasts of the two models, (*Shape,) or (*Shape, C), and labels, (*Shape,)."""

    challenger: Array
    champion: Array
    label: Array


World = Callable[[np.random.Generator, Shape], Forecasts]


def shocked(rng: np.random.Generator, shape: Shape) -> Array:
    """Standard normal; the rows of a block share a part."""
    pairs, blocks, _ = shape
    return math.sqrt(SHARED) * rng.normal(size=(pairs, blocks, 1)) + math.sqrt(1 - SHARED) * rng.normal(size=shape)


def differences(loss: Loss, forecasts: Forecasts) -> Array:
    """Mean paired difference of each block: (pairs, blocks)."""
    label = forecasts.label

    def rows(score: Array) -> Array:
        return loss.rows(score.reshape(label.size, *score.shape[label.ndim :]), label.ravel()).reshape(label.shape)

    means: Array = (rows(forecasts.challenger) - rows(forecasts.champion)).mean(axis=2)
    return means


def exchangeable(name: str, worse: float = 1.0) -> World:
    """Both models see the truth with noise; the challenger with `worse` times as much."""

    def binary(rng: np.random.Generator, shape: Shape) -> Forecasts:
        truth = rng.normal(-1, 1, size=shape)
        challenger, champion = (expit(truth + times * shocked(rng, shape)) for times in (worse, 1.0))
        return Forecasts(challenger, champion, (ndtr(shocked(rng, shape)) < expit(truth)).astype(float))

    def multiclass(rng: np.random.Generator, shape: Shape) -> Forecasts:
        truth = rng.normal(size=(*shape, 3))
        challenger, champion = (
            softmax(truth + times * np.stack([shocked(rng, shape) for _ in range(3)], axis=3), axis=3)
            for times in (worse, 1.0)
        )
        return Forecasts(challenger, champion, classes(rng, shape, softmax(truth, axis=3)))

    def regression(rng: np.random.Generator, shape: Shape) -> Forecasts:
        truth = rng.normal(size=shape)
        offset = best_forecast(0.9) if name == PINBALL.name else 0.0
        challenger, champion = (truth + offset + times * shocked(rng, shape) for times in (worse, 1.0))
        return Forecasts(challenger, champion, truth + skewed(rng, shape))

    return binary if name in BINARY else multiclass if name in MULTICLASS else regression


def classes(rng: np.random.Generator, shape: Shape, p: Array) -> Array:
    """Labels by the probabilities (*shape, C) or (C,)."""
    label: Array = (ndtr(shocked(rng, shape))[..., None] > np.cumsum(p, axis=-1)[..., :-1]).sum(axis=3).astype(float)
    return label


def skewed(rng: np.random.Generator, shape: Shape) -> Array:
    """Lognormal with its mean of 1 subtracted."""
    return np.exp(shocked(rng, shape) - 0.5) - 1


def heavy(rng: np.random.Generator, shape: Shape) -> Array:
    """Student's t with 3 degrees of freedom."""
    scale: Array = np.sqrt(rng.chisquare(3, size=shape) / 3)
    return shocked(rng, shape) / scale


def best_forecast(quantile: float) -> float:
    """The quantile of `skewed`."""
    return math.exp(float(ndtri(quantile)) - 0.5) - 1


def expected_pinball(quantile: float, forecast: float) -> float:
    """Under `skewed`; of X lognormal with mean 1, E[X; X < k] is Phi(log k - 1/2)."""
    k = 1 + forecast
    below = k * ndtr(math.log(k) + 0.5) - ndtr(math.log(k) - 0.5)
    return float(quantile * (1 - k) + below)


def equal_forecasts(quantile: float, above: float) -> tuple[float, float]:
    """Forecasts above and below the quantile of `skewed` with the same expected pinball loss."""
    best = best_forecast(quantile)
    loss = expected_pinball(quantile, best + above)
    below = brentq(lambda forecast: expected_pinball(quantile, forecast) - loss, -0.95, best - 1e-6)
    return best + above, float(below)


def offsets(above: float, below: float, noise: Callable[[np.random.Generator, Shape], Array]) -> World:
    def world(rng: np.random.Generator, shape: Shape) -> Forecasts:
        truth = rng.normal(size=shape)
        return Forecasts(truth + above, truth + below, truth + noise(rng, shape))

    return world


def log_loss_below(p: float, above: float) -> float:
    """The distance below p at which a score has the same expected log loss as one `above` it."""

    def expected(score: float) -> float:
        return -(p * math.log(score) + (1 - p) * math.log(1 - score))

    return float(brentq(lambda below: expected(p - below) - expected(p + above), 1e-6, p - CLIP))


def around_probabilities(above: float, below: Callable[[float], float]) -> World:
    """Scores above and below the probability of the label, which has a few possible values."""
    levels = np.array([0.2, 0.3, 0.5, 0.7, 0.8])
    distance = np.array([below(p) for p in levels])

    def world(rng: np.random.Generator, shape: Shape) -> Forecasts:
        level = rng.integers(0, len(levels), size=shape)
        p = levels[level]
        return Forecasts(p + above, p - distance[level], (ndtr(shocked(rng, shape)) < p).astype(float))

    return world


def around_classes(above: float, below: float) -> World:
    """Scores on both sides of the probabilities of three classes."""

    def world(rng: np.random.Generator, shape: Shape) -> Forecasts:
        up, down = (np.broadcast_to(P_CLASSES + step * TOWARDS, (*shape, 3)) for step in (above, -below))
        return Forecasts(up, down, classes(rng, shape, P_CLASSES))

    return world


def multiclass_log_loss_below(above: float) -> float:
    def expected(step: float) -> float:
        return -float(P_CLASSES @ np.log(P_CLASSES + step * TOWARDS))

    return float(brentq(lambda below: expected(-below) - expected(above), 1e-6, 0.5))


EQUAL: Mapping[str, tuple[str, World]] = {
    "brier": ("brier", around_probabilities(0.08, lambda p: 0.08)),
    "log_loss": ("log_loss", around_probabilities(0.08, lambda p: log_loss_below(p, 0.08))),
    "multiclass_brier": ("multiclass_brier", around_classes(0.08, 0.08)),
    "multiclass_log_loss": ("multiclass_log_loss", around_classes(0.08, multiclass_log_loss_below(0.08))),
    "squared, lognormal": ("squared", offsets(0.2, -0.2, skewed)),
    "squared, t3": ("squared", offsets(0.2, -0.2, heavy)),
    "absolute, lognormal": ("absolute", offsets(*equal_forecasts(0.5, 0.2), skewed)),
    "absolute, t3": ("absolute", offsets(0.2, -0.2, heavy)),
    "pinball, lognormal": (PINBALL.name, offsets(*equal_forecasts(0.9, 0.4), skewed)),
}


def simulated(name: str, world: World, seed: int) -> tuple[Array, Array]:
    """Earlier blocks (pairs, EARLIER) of each pair, and its rollouts (pairs, ROLLOUTS, BLOCKS)."""
    d = differences(EVERY[name], world(np.random.default_rng(seed), (PAIRS, EARLIER + ROLLOUTS * BLOCKS, ROWS)))
    return d[:, :EARLIER], d[:, EARLIER:].reshape(PAIRS, ROLLOUTS, BLOCKS)


def told_worse(earlier: Array, rollouts: Array) -> Array:
    """Whether the judge, asked after every block, ever says that the challenger is worse: (pairs, ROLLOUTS)."""
    looks = np.arange(1, BLOCKS + 1)
    pairs = zip(earlier, rollouts, strict=True)
    return np.stack([ever(paths(d, 0.0, looks, Scatter.of(past), Limits(BLOCKS)), RISK) for past, d in pairs])


def t_test_told_worse(rollouts: Array) -> Array:
    """The same by a one-sided t-test after every block from the fifth on."""
    d, n = rollouts.reshape(-1, BLOCKS), np.arange(1, BLOCKS + 1)
    mean = np.cumsum(d, axis=1) / n
    variance = (np.cumsum(d**2, axis=1) - n * mean**2) / np.maximum(n - 1, 1)
    p = student.sf(mean[:, 4:] / np.sqrt(np.maximum(variance, 1e-12)[:, 4:] / n[4:]), n[4:] - 1)
    return np.asarray((p <= ALPHA).any(axis=1))


def standard_errors(means: Array) -> float:
    """How many standard errors the mean of independent values lies from 0."""
    return float(abs(means.mean()) / means.std(ddof=1) * math.sqrt(means.size))


@pytest.mark.parametrize("seed", seeds(1, 4))
@pytest.mark.parametrize("name", EVERY)
def test_exchangeable_models_are_not_called_worse_too_often_as_they_are_by_a_t_test(name: str, seed: int) -> None:
    earlier, rollouts = simulated(name, exchangeable(name), seed)
    assert standard_errors(rollouts.mean(axis=2)) < 4  # the two models really are equal
    assert least_rate(told_worse(earlier, rollouts).mean(), PAIRS * ROLLOUTS) <= ALPHA
    assert t_test_told_worse(rollouts).mean() > 0.15


@pytest.mark.parametrize("seed", seeds(1, 4))
@pytest.mark.parametrize("case", EQUAL)
def test_forecasts_of_equal_expected_loss_are_not_called_worse_too_often(case: str, seed: int) -> None:
    name, world = EQUAL[case]
    earlier, rollouts = simulated(name, world, seed)
    assert standard_errors(rollouts.mean(axis=2)) < 4
    both = told_worse(earlier, np.concatenate([rollouts, -rollouts], axis=1))
    for side in (both[:, :ROLLOUTS], both[:, ROLLOUTS:]):
        assert least_rate(side.mean(), PAIRS * ROLLOUTS) <= ALPHA


@pytest.mark.parametrize("name", EVERY)
def test_a_noisier_challenger_is_called_worse(name: str) -> None:
    earlier, rollouts = simulated(name, exchangeable(name, worse=2.0), seed=0)
    assert told_worse(earlier[:6], rollouts[:6]).mean() > 0.8


@pytest.mark.parametrize("case", ["brier", "squared, t3", "pinball, lognormal"])
def test_the_simulation_computes_the_same_evidence_as_the_judge(case: str) -> None:
    earlier, rollouts = simulated(*EQUAL[case], seed=0)
    foretold, d = Scatter.of(earlier[0]), rollouts[0, :2]
    limits, looks = Limits(BLOCKS), np.arange(1, BLOCKS + 1)
    along = paths(d, 0.0, looks, foretold, limits)
    expected = [[log_e_above(one[:t], 0.0, bets(one[:t], foretold, limits)) for t in looks] for one in d]
    assert along == pytest.approx(np.array(expected), abs=1e-9)


SINGLE_PAIRS, SINGLE_ROLLOUTS, SINGLE_EARLIER, SINGLE_ROWS = 2, 200, 1_000, 3_000


@pytest.mark.parametrize("case", ["brier", "multiclass_brier", "absolute, t3"])
def test_independent_rows_as_blocks_are_not_called_worse_too_often_either(case: str) -> None:
    name, world = EQUAL[case]
    shape = (SINGLE_PAIRS, SINGLE_EARLIER + SINGLE_ROLLOUTS * SINGLE_ROWS, 1)
    loss, looks = EVERY[name], np.arange(20, SINGLE_ROWS + 1, 20)
    limits = Limits(SINGLE_ROWS, widest=loss.largest_difference, least=200)
    verdicts = []
    for d in differences(loss, world(np.random.default_rng(0), shape)):
        foretold, rollouts = Scatter.of(d[:SINGLE_EARLIER]), d[SINGLE_EARLIER:].reshape(SINGLE_ROLLOUTS, SINGLE_ROWS)
        both = np.concatenate([rollouts, -rollouts])
        log_e = paths(both, 0.0, looks, foretold, limits)
        verdicts.append(ever(log_e, RISK).reshape(2, SINGLE_ROLLOUTS))
    for side in np.concatenate(verdicts, axis=1):
        assert least_rate(side.mean(), len(side)) <= ALPHA
