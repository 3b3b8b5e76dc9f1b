"""Evidence on the mean of block differences: valid at any time, with bets scaled to the pair of models."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.judge_claims import first, least_rate, paths
from pipelines.judge.betting import (
    CASH,
    CONFIDENCE,
    LARGEST,
    LEAST,
    NOTHING,
    TOLERANCE,
    Bets,
    Epoch,
    Limits,
    Scatter,
    bets,
    bounds,
    log_e_above,
    log_e_below,
)

FORETOLD = Scatter(31, 1.0, 2.5)
series = st.lists(st.floats(-10, 10, allow_nan=False), max_size=60)
scatters = st.none() | st.builds(Scatter, st.integers(LEAST, 60), st.floats(1e-3, 3), st.floats(1e-3, 10))
RISK = math.log(20)


def placed(reach: float = 3.0, sizes: tuple[float, ...] = (0.475, 0.95)) -> Bets:
    return (Epoch(0, reach, sizes, 1.0),)


def log_of(*capitals: float) -> float:
    """log E of bets with this capital."""
    return math.log((1 - CASH) * sum(capitals) / len(capitals) + CASH)


def test_no_blocks_and_no_scale_are_no_evidence() -> None:
    assert log_e_above([], 0.0, bets([], FORETOLD, Limits(60))) == 0.0
    assert log_e_above([1.0] * 4, 0.0, bets([1.0] * 4, None, Limits(60))) == 0.0
    assert bounds([], 0.05, bets([], FORETOLD, Limits(60))) == (None, None)


@pytest.mark.parametrize(("low", "high"), [(-3.0, 0.5), (-3.0, 3.0), (-0.1, 2.9), (-2.0, 1.0)])
@pytest.mark.parametrize("n", [1, 4, 8])
def test_the_expectation_of_evidence_is_one_under_two_point_nulls_within_reach(low: float, high: float, n: int) -> None:
    p = -low / (high - low)
    mean = sum(
        p ** sum(ups)
        * (1 - p) ** (n - sum(ups))
        * math.exp(log_e_above([high if up else low for up in ups], 0, placed()))
        for ups in product((0, 1), repeat=n)
    )
    assert mean == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 30.0), (-3.0, 7.0)])
def test_the_expectation_is_below_one_where_large_blocks_are_limited(low: float, high: float) -> None:
    p = -low / (high - low)
    mean = sum(
        p ** sum(ups)
        * (1 - p) ** (6 - sum(ups))
        * math.exp(log_e_above([high if up else low for up in ups], 0, placed()))
        for ups in product((0, 1), repeat=6)
    )
    assert mean < 1


def test_the_debt_of_a_bet_is_subtracted_from_the_other_bets() -> None:
    d = [1.0, 1.0, -4.0]  # the larger bet loses more than its capital
    large = (1 + 0.95 * 1 / 3) ** 2 * (1 - 0.95 * 4 / 3)
    small = (1 + 0.475 * 1 / 3) ** 2 * (1 - 0.475 * 4 / 3)
    assert large < 0 < small + large
    assert log_e_above(d, 0, placed()) == pytest.approx(log_of(small, large))
    assert log_e_above([*d, 3.0], 0, placed()) == pytest.approx(log_of(small * 1.475, large)), (
        "the larger bet has stopped"
    )
    assert log_e_above([2.0] * 6 + [-40.0] + [3.0] * 9, 0, placed()) == NOTHING


@given(series, st.floats(-5, 5), scatters)
def test_evidence_is_finite_and_bounds_bracket_the_mean_and_swap_with_the_sign(
    d: list[float], limit: float, foretold: Scatter | None
) -> None:
    how = bets(d, foretold, Limits(60))
    assert math.isfinite(log_e_above(d, limit, how)) and math.isfinite(log_e_below(d, limit, how))
    low, high = bounds(d, 0.05, how)
    mirrored = bounds([-one for one in d], 0.05, how)
    assert (None if mirrored[1] is None else -mirrored[1]) == low and (
        None if mirrored[0] is None else -mirrored[0]
    ) == high
    if low is not None:
        assert low <= max(d)
    if high is not None:
        assert high >= min(d)


@given(st.lists(st.floats(-1, 1), max_size=60), st.floats(-1, 1), st.floats(0, 1))
def test_within_reach_evidence_decreases_with_the_limit(d: list[float], limit: float, more: float) -> None:
    assert log_e_above(d, limit + more, placed()) <= log_e_above(d, limit, placed()) + 1e-9


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=40), st.randoms(use_true_random=False), st.integers(0, 40))
def test_within_reach_order_and_batches_change_nothing(d: list[float], random: object, cut: int) -> None:
    shuffled = list(d)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert log_e_above(shuffled, 0.1, placed()) == log_e_above(d, 0.1, placed())
    parts = [
        math.prod(
            (math.exp(log_e_above(part, 0.1, placed(sizes=(size,)))) - CASH) / (1 - CASH) for part in (d[:cut], d[cut:])
        )
        for size in (0.475, 0.95)
    ]
    assert log_of(*parts) == pytest.approx(log_e_above(d, 0.1, placed()), abs=1e-9)


def test_a_bound_lies_where_the_evidence_reaches_one_over_alpha() -> None:
    d = np.random.default_rng(1).normal(0.4, 1.0, 60)
    how = bets(d, FORETOLD, Limits(60))
    low, high = bounds(d, 0.05, how)
    assert low is not None and high is not None
    assert log_e_above(d, low, how) == pytest.approx(RISK, abs=1e-6)
    assert log_e_below(d, high, how) == pytest.approx(RISK, abs=1e-6)


def test_a_worse_mean_is_detected_where_only_half_of_the_blocks_are_worse() -> None:
    d = np.tile([-1.0, 2.0], 60)
    assert log_e_above(d, 0.0, bets(d, Scatter.of(d), Limits(120))) > math.log(50)


def test_a_scale_from_few_blocks_is_raised_and_an_earlier_outlier_widens_the_reach() -> None:
    few, many = Scatter(6, 1.0, 1.5), Scatter(600, 1.0, 1.5)
    assert few.scale > 1.4 > 1.1 > many.scale > 1.0
    assert Scatter(600, 1.0, 9.0).reach == 9.0 and many.reach == pytest.approx(3 * many.scale)
    draws = np.random.default_rng(3).normal(0, 1, (4000, 6)).std(axis=1, ddof=1)
    scales = [Scatter(6, float(sd), 0.0).scale for sd in draws]
    assert np.mean(np.array(scales) >= 1) == pytest.approx(CONFIDENCE, abs=0.02)


def test_bets_restart_with_at_most_the_remaining_capital_where_blocks_scatter_more_than_foretold() -> None:
    d = np.random.default_rng(4).normal(0, 4.0, 40)
    how = bets(d, FORETOLD, Limits(60))
    first, last = how[0], how[-1]
    assert first.scale == FORETOLD.scale and last.since >= LEAST and last.scale > TOLERANCE * FORETOLD.scale
    assert [epoch.since for epoch in how] == sorted({epoch.since for epoch in how})
    assert bets(d[: how[1].since - 1], FORETOLD, Limits(60)) == how[:1], "earlier looks do not change"
    assert len(bets(d, Scatter(31, 4.0, 9.0), Limits(60))) == 1
    anew = log_e_above([0.0] * 5, 0, (Epoch(0, 3.0, (0.95,), 1.0), Epoch(5, 9.0, (0.95,), 3.0)))
    assert anew == pytest.approx(math.log(1 - CASH / 2)), "a restart wins nothing by itself"
    won = log_e_above([3.0] * 5, 0, (Epoch(0, 3.0, (0.95,), 1.0), Epoch(5, 9.0, (0.95,), 3.0)))
    lost = log_e_above([-3.0] * 5, 0, (Epoch(0, 3.0, (0.95,), 1.0), Epoch(5, 9.0, (0.95,), 3.0)))
    assert won <= 0 and lost == pytest.approx(math.log(CASH), abs=0.01)


def test_without_a_foretold_scale_the_first_blocks_set_it() -> None:
    d = np.random.default_rng(5).normal(0, 1.0, 30)
    assert bets(d[: LEAST - 1], None, Limits(60)) == ()
    how = bets(d, None, Limits(60))
    assert how[0].since == LEAST and how[0].reach > 0
    assert log_e_above(np.full(30, 0.25), 0.0, bets(np.full(30, 0.25), None, Limits(60))) > RISK, (
        "a constant difference is evidence"
    )
    assert log_e_below(np.zeros(30), 0.01, bets(np.zeros(30), None, Limits(60, narrowest=0.01))) > RISK


@pytest.mark.parametrize("growth", ["constant", "growing", "steps", "wave"])
def test_changing_scatter_costs_time_and_keeps_the_error_bound(growth: str) -> None:
    reps, days = 800, 365
    at = np.arange(days) / days
    sd = {
        "constant": np.ones(days),
        "growing": 30**at,
        "steps": np.repeat([0.2, 1.0, 5.0], 122)[:days],
        "wave": np.exp(1.2 * np.sin(2 * np.pi * at)),
    }[growth]
    d = np.random.default_rng(8).normal(0, 1.0, (reps, days)) * sd
    foretold = Scatter(31, float(sd[0]), 2.5 * float(sd[0]))
    hits = (paths(d, 0.0, np.arange(1, days + 1), foretold, Limits(60)) >= RISK).any(axis=1)
    assert least_rate(float(hits.mean()), reps) <= 0.05


def test_nearly_equal_and_equal_models_can_be_promoted() -> None:
    d = np.zeros(10)
    assert log_e_below(d, 0.01, bets(d, Scatter(31, 0.0, 0.0), Limits(60, narrowest=0.01))) > RISK
    assert log_e_below(d, 0.01, bets(d, Scatter(31, 0.0, 0.0), Limits(60))) == 0.0


def test_bets_become_smaller_with_the_number_of_allowed_blocks() -> None:
    assert bets([], FORETOLD, Limits(60))[0].sizes == (LARGEST / 2, LARGEST)
    many = bets([], FORETOLD, Limits(10_000))[0].sizes
    assert len(many) > 4 and many == tuple(sorted(many)) and many[-1] == LARGEST


def test_the_reach_is_bounded_by_the_largest_possible_difference() -> None:
    assert bets([], Scatter(31, 0.5, 0.9), Limits(60, widest=1.0))[0].reach == 1.0


@pytest.mark.parametrize("foretold", [FORETOLD, Scatter(31, 0.3, 0.6), None, Scatter(8, 0.0, 0.0)])
@pytest.mark.parametrize("least", [LEAST, 20])
def test_the_benchmark_computes_the_same_evidence_as_the_judge(foretold: Scatter | None, least: int) -> None:
    rng, looks = np.random.default_rng(2), np.array([1, 7, 25, 60])
    d = rng.standard_t(3, (12, 60))
    limits = Limits(60, narrowest=0.2, widest=5.0, least=least)
    along = paths(d, 0.1, looks, foretold, limits)
    for row, (at, look) in product(range(len(d)), enumerate(looks)):
        seen = d[row, :look]
        how = bets(seen, foretold, limits)
        assert along[row, at] == pytest.approx(log_e_above(seen, 0.1, how), abs=1e-9)


@pytest.mark.parametrize("understated", [1.0, 2.0, 4.0])
def test_equal_models_are_rarely_called_worse_even_with_an_understated_scale(understated: float) -> None:
    reps = 1500
    d = np.random.default_rng(6).normal(0, 1.0, (reps, 60))
    foretold = Scatter(31, 1 / understated, 2 / understated)
    hits = (paths(d, 0.0, np.arange(1, 61), foretold, Limits(60)) >= RISK).any(axis=1)
    assert least_rate(float(hits.mean()), reps) <= 0.05


def test_a_much_worse_challenger_is_detected_even_with_an_understated_scale() -> None:
    looks = np.arange(1, 61)
    d = np.random.default_rng(9).normal(1.6, 1.0, (300, 60))

    def median_days(scale: float) -> float:
        return float(np.median(first(paths(d, 0.0, looks, Scatter(31, scale, 2.5 * scale), Limits(60)), RISK, looks)))

    assert median_days(1.0) <= 12 and median_days(0.25) <= 25


def test_dependent_blocks_keep_the_error_bound_on_their_conditional_means() -> None:
    """Conditional means vary over time; on average over the blocks seen they are 0 or less."""
    reps, rng = 1500, np.random.default_rng(7)
    regime = np.repeat(rng.choice([-0.7, 0.7], (reps, 10)), 6, axis=1)
    d = regime + rng.normal(0, 1.0, (reps, 60))
    log_e, looks = paths(d, 0.0, np.arange(1, 61), Scatter(31, 1.2, 2.5), Limits(60)), np.arange(1, 61)
    false = (log_e >= RISK) & (np.cumsum(regime, axis=1) / looks <= 0)
    assert least_rate(float(false.any(axis=1).mean()), reps) <= 0.05
    assert (log_e >= RISK).any(axis=1).mean() > 0.05, (
        "relative to the mean of the whole period it is called worse more often"
    )
