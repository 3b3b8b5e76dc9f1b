from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.special import expit

from pipelines.metrics.costs import best_threshold, cost_curve, mean_cost, row_costs, thin_cost_curve
from pipelines.params.costs import Costs

rows = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]) | st.floats(0, 1)), min_size=1
)
prices = st.builds(Costs, false_alarm=st.floats(0.1, 9), miss=st.floats(1, 9), true_alarm=st.floats(0, 0.9))


@given(rows, prices)
@example([(0, 0.0), (1, 5e-324)], Costs(false_alarm=1.0, miss=1.0, true_alarm=0.0))  # no float lies between them
def test_the_curve_gives_the_cost_of_each_threshold_and_the_cheapest_is_chosen(
    drawn: list[tuple[int, float]], costs: Costs
) -> None:
    labels, scores = np.array([d[0] for d in drawn]), np.array([d[1] for d in drawn])
    curve = cost_curve(labels, scores, costs)
    for threshold, cost, alarms in curve.itertuples(index=False):
        assert row_costs(labels, scores, threshold, costs).mean() == pytest.approx(cost)
        assert (scores >= threshold).mean() == pytest.approx(alarms)
    chosen = best_threshold(labels, scores, costs)
    paid = row_costs(labels, scores, chosen, costs).mean()
    assert paid == pytest.approx(curve["cost"].min())
    everything = np.concatenate([scores, np.linspace(0, 1, 21)])
    assert paid <= min(row_costs(labels, scores, threshold, costs).mean() for threshold in everything) + 1e-12


def test_each_outcome_has_its_price() -> None:
    costs = Costs(false_alarm=1, miss=5, true_alarm=2)
    assert row_costs([0, 0, 1, 1], [0.1, 0.5, 0.1, 0.5], 0.5, costs).tolist() == [0, 1, 5, 2]


def test_on_true_probabilities_the_threshold_is_where_an_alarm_begins_to_pay() -> None:
    draw = np.random.default_rng(0)
    truth = expit(draw.normal(-1, 1.5, 200_000))
    labels = draw.random(200_000) < truth
    chosen = best_threshold(labels, truth, Costs(false_alarm=1, miss=3, true_alarm=0.5))
    assert chosen == pytest.approx(1 / (1 + 3 - 0.5), abs=0.03)


def test_days_that_move_together_give_a_wider_interval_and_one_day_gives_none() -> None:
    draw = np.random.default_rng(1)
    labels = (np.repeat(draw.random(30) < 0.5, 100) & (draw.random(3000) < 0.9)).astype(float)
    scores, days = np.full(3000, 0.2), np.repeat(np.arange(30), 100)
    cost, (low, high) = mean_cost(row_costs(labels, scores, 0.5, Costs()), days, 200, 1)
    _, (row_low, row_high) = mean_cost(row_costs(labels, scores, 0.5, Costs()), np.arange(3000), 200, 1)
    assert low < cost < high and high - low > 3 * (row_high - row_low)
    assert mean_cost(row_costs(labels, scores, 0.5, Costs()), days, 200, 1)[1] == (low, high)
    assert all(math.isnan(end) for end in mean_cost(row_costs(labels, scores, 0.5, Costs()), days * 0, 50, 1)[1])


def test_nan_scores_have_no_cost() -> None:
    cost, _ = mean_cost(row_costs([0, 1, 1], [0.1, np.nan, 0.9], 0.5, Costs()), [0, 1, 2], 50, 1)
    assert math.isnan(cost) and math.isnan(mean_cost(row_costs([], [], 0.5, Costs()), [], 50, 1)[0])


def test_a_thin_curve_keeps_both_ends() -> None:
    draw = np.random.default_rng(2)
    curve = thin_cost_curve(draw.integers(0, 2, 5000), draw.random(5000), Costs())
    assert len(curve) <= 200 and (curve["threshold"].iloc[0], curve["threshold"].iloc[-1]) == (0, 1)


@pytest.mark.parametrize("prices", [{"true_alarm": 1, "miss": 1}, {"false_alarm": 0}, {"miss": -1}, {"miss": "dear"}])
def test_costs_that_leave_nothing_to_decide_are_refused(prices: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Costs.model_validate(prices)
