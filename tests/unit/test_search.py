from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import CheckFailed, InvalidInput
from pipelines.params import load_params
from pipelines.params.training import Mlp, Range
from pipelines.training.search import best_trial, draw, value_within

TRAINING = load_params("params.yaml").training


@pytest.mark.parametrize("family", ["logistic_regression", "hist_gradient_boosting", "mlp"])
def test_the_first_trial_takes_the_declared_values(family: str) -> None:
    declared = getattr(TRAINING, family)
    assert draw(declared, 0, 1) is declared


@given(st.integers(1, 200), st.integers(0, 2**32))
def test_a_draw_lies_in_its_ranges_and_depends_on_seed_and_trial_alone(trial: int, seed: int) -> None:
    declared = TRAINING.hist_gradient_boosting
    drawn = draw(declared, trial, seed)
    for name, allowed in declared.search.items():
        assert allowed.low <= getattr(drawn, name) <= allowed.high
    assert isinstance(drawn.max_leaf_nodes, int) and drawn.max_iter == declared.max_iter
    assert drawn == draw(declared, trial, seed)


def test_trials_differ() -> None:
    drawn = [draw(TRAINING.mlp, trial, 1).learning_rate for trial in range(20)]
    assert len(set(drawn)) == 20


@given(st.floats(0, 1, exclude_max=True), st.floats(1e-6, 1), st.floats(1.001, 1e6), st.booleans())
def test_positions_map_into_the_range(position: float, low: float, ratio: float, log: bool) -> None:
    allowed = Range(low=low, high=low * ratio, log=log)
    assert allowed.low <= value_within(allowed, position) <= allowed.high
    assert value_within(allowed, 0.0) == pytest.approx(low)


def test_a_range_that_the_setting_does_not_take_is_refused() -> None:
    wrong = {**TRAINING.mlp.model_dump(), "search": {"dropout": {"low": 1.0, "high": 2.0}}}
    with pytest.raises(InvalidInput, match="dropout"):
        draw(Mlp.model_validate(wrong), 1, 1)


def test_the_lowest_finite_loss_wins_and_the_first_among_equals() -> None:
    assert best_trial([0.5, math.nan, 0.4, 0.4]) == 2
    with pytest.raises(CheckFailed, match="none of 2 trials"):
        best_trial([math.nan, math.inf])
