"""Searches draw from their space, resume from their records to the same result, and choose within their limits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.configuration import load_params
from pipelines.errors import CheckFailed, InvalidInput
from pipelines.params.search import Choices, Range, drawing_order
from pipelines.params.training import HistGradientBoosting, Mlp, Tuning
from pipelines.training.search import Pruned, Record, Space, best_trial, next_trial, pareto_front
from tests.examples import costly
from tests.services import thorough

TRAINING = load_params("params.yaml").training
WHOLE = Tuning(pruning=False)
BOTH = Tuning.model_validate({"pruning": False, "latency": {"budget_ms": 1}})
SPACE = {
    "learning_rate": {"low": 0.001, "high": 0.1, "log": True},
    "hidden": {"choices": [[64], [128, 64]]},
    "embedding_dim": {"low": 2, "high": 16, "log": True, "integer": True, "when": {"hidden": [128, 64]}},
    "dropout": {"low": 0.0, "high": 0.5},
}
SEARCHED = Mlp.model_validate({**TRAINING.mlp.model_dump(), "epochs": 9, "search": SPACE})


def run(
    declared: Any,
    trials: int,
    objective: Callable[..., Any],
    tuning: Tuning = WHOLE,
    seed: int = 1,
    records: list[Record] | None = None,
) -> list[Record]:
    records, space = list(records or []), Space("toy", declared, tuning, seed)
    while len(records) < trials:
        trial = next_trial(space, records, objective)
        records.append(Record.model_validate_json(trial.model_dump_json()))  # as stored in a journal
    return records


def bowl(draw: Any, _: Any = None) -> tuple[float, None]:
    return (math.log(draw.learning_rate) + 4) ** 2 + (draw.dropout - 0.2) ** 2 + len(draw.hidden), None


def curve(draw: Any, progress: Any) -> tuple[float, None]:
    """Falls from epoch to epoch towards the bowl."""
    for epoch in range(1, draw.epochs + 1):
        progress(epoch, bowl(draw)[0] + 1 / epoch)
    return bowl(draw)[0] + 1 / draw.epochs, None


@pytest.mark.parametrize("family", ["logistic_regression", "hist_gradient_boosting", "mlp"])
def test_the_first_trial_takes_the_declared_values(family: str) -> None:
    declared = getattr(TRAINING, family)
    seen = []

    def objective(made: Any, _: Any) -> tuple[float, None]:
        seen.append(made)
        return 0.5, None

    (record,) = run(declared, 1, objective)
    assert seen == [declared] and record.params == declared.model_dump(mode="json", exclude={"search"})
    assert set(record.drawn) == set(declared.search)


@given(st.integers(0, 2**40))
@costly()
def test_draws_lie_in_the_space_and_depend_on_the_seed_alone(seed: int) -> None:
    seen: list[Any] = []

    def objective(made: Any, _: Any) -> Any:
        seen.append(made)
        return bowl(made)

    records = run(SEARCHED, 14, objective, seed=seed)
    for made, record in zip(seen[1:], records[1:], strict=True):
        assert 0.001 <= made.learning_rate <= 0.1 and 0 <= made.dropout <= 0.5
        assert made.hidden in {(64,), (128, 64)} and isinstance(made.embedding_dim, int)
        if made.hidden == (64,):
            assert made.embedding_dim == SEARCHED.embedding_dim and "embedding_dim" not in record.drawn
        else:
            assert 2 <= made.embedding_dim <= 16 and record.drawn["embedding_dim"] == made.embedding_dim
        assert (made.weight_decay, made.epochs) == (SEARCHED.weight_decay, SEARCHED.epochs)
    assert run(SEARCHED, 14, bowl, seed=seed) == records
    assert len({record.params["learning_rate"] for record in records}) == 14


@thorough
@pytest.mark.parametrize(
    ("tuning", "objective"),
    [
        (WHOLE, bowl),
        (Tuning(), curve),
        (BOTH, lambda made, _: (bowl(made)[0], float(len(made.hidden)))),
        (WHOLE, lambda made, _: (math.nan if made.dropout > 0.3 else bowl(made)[0], None)),
    ],
)
def test_a_killed_search_resumes_from_its_records_to_the_same_result(tuning: Tuning, objective: Any) -> None:
    whole = run(SEARCHED, 24, objective, tuning)
    for kept in (0, 1, 2, 11, 12, 17, 23):
        assert run(SEARCHED, 24, objective, tuning, records=whole[:kept]) == whole


def test_the_search_beats_random_draws() -> None:
    losses = [record.loss or 0.0 for record in run(SEARCHED, 40, bowl)]
    assert min(losses[20:]) < min(losses[:10]) and sum(losses[30:]) < sum(losses[:10])


def test_trials_that_fall_behind_are_pruned_but_never_the_first() -> None:
    worst = SEARCHED.model_copy(update={"learning_rate": 0.1, "dropout": 0.5})
    records = run(worst, 30, curve, Tuning())
    pruned = [record for record in records if record.state == "pruned"]
    assert pruned and records[0].state == "complete"
    for record in pruned:
        assert max(record.steps) < 9 and record.loss == record.steps[max(record.steps)]
    assert records[best_trial(records)].state == "complete"


def test_an_error_of_a_fit_is_not_treated_as_pruning() -> None:
    def fails(*_: Any) -> Any:
        raise CheckFailed("diverged")

    with pytest.raises(CheckFailed, match="diverged"):
        run(SEARCHED, 1, fails)


def test_a_range_that_the_setting_does_not_accept_is_refused() -> None:
    wrong = {**TRAINING.mlp.model_dump(), "search": {"dropout": {"low": 1.0, "high": 2.0}}}
    with pytest.raises(InvalidInput, match="dropout"):
        run(Mlp.model_validate(wrong), 2, lambda *_: (0.5, None))


def test_a_nan_loss_falls_behind() -> None:
    def diverges(made: Any, progress: Any) -> tuple[float, None]:
        progress(1, math.nan)
        return math.nan, None

    records = run(SEARCHED, 3, diverges, Tuning())
    assert {(record.state, record.loss) for record in records} == {("failed", None)}


def test_the_first_trial_continues_where_another_would_be_pruned() -> None:
    def recovers(made: Any, progress: Any) -> tuple[float, None]:
        progress(1, math.nan)
        return bowl(made)

    assert run(SEARCHED, 1, recovers, Tuning())[0].state == "complete"


def test_reported_steps_are_epochs_trees_or_folds() -> None:
    trees = HistGradientBoosting.model_validate(
        {
            **TRAINING.hist_gradient_boosting.model_dump(),
            "search": {"max_iter": {"low": 50, "high": 400, "integer": True}},
        }
    )
    cases = ((trees, Tuning()), (SEARCHED, Tuning()), (trees, Tuning(folds=5)))
    assert [Space("toy", declared, tuning, 1).most_steps for declared, tuning in cases] == [400, 9, 5]


def record(loss: float | None, latency: float | None = None, state: Any = "complete") -> Record:
    return Record(params={}, drawn={}, state=state, loss=loss, latency_ms=latency)


def test_the_lowest_finite_loss_of_a_completed_trial_wins_and_the_first_among_equals() -> None:
    assert (
        best_trial([record(0.5), record(None, state="failed"), record(0.1, state="pruned"), record(0.4), record(0.4)])
        == 3
    )
    with pytest.raises(CheckFailed, match="none of 2 trials has a finite"):
        best_trial([record(None, state="failed"), record(0.1, state="pruned")])


def test_the_least_loss_within_the_latency_budget_wins_and_no_other() -> None:
    records = [record(0.5, 1.0), record(0.4, 2.0), record(0.3, 5.0), record(0.45, 2.5)]
    assert best_trial(records, 2.0) == 1 and best_trial(records, 9.0) == 2
    assert pareto_front(records) == [0, 1, 2]
    with pytest.raises(CheckFailed, match=r"within 0\.5 ms \(the fastest: 1 ms\)"):
        best_trial(records, 0.5)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"dropout": {"low": 0, "high": 1, "when": {"batch_size": 64}}}, "names 'batch_size', which is not searched"),
        (
            {"dropout": {"low": 0, "high": 0.5, "when": {"hidden": [9]}}, "hidden": SPACE["hidden"]},
            "not one of its choices",
        ),
        (
            {
                "hidden": {"choices": [[1], [2]], "when": {"epochs": 1}},
                "epochs": {"choices": [1, 2], "when": {"hidden": [1]}},
            },
            "form a cycle",
        ),
        ({"epochs": {"low": 1.5, "high": 4, "integer": True}}, "whole numbers"),
        ({"epochs": {"low": 0, "high": 4, "integer": True, "log": True}}, "low > 0"),
        ({"hidden": {"choices": [[1]]}}, "at least 2"),
        ({"hidden": {"choices": [[1], [2]], "log": True}}, "Extra inputs"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(space: dict[str, Any], message: str) -> None:
    training = {**TRAINING.model_dump(), "mlp": {**TRAINING.mlp.model_dump(), "search": space}}
    with pytest.raises(ValidationError, match=message):
        type(TRAINING).model_validate(training)


def test_a_setting_is_drawn_before_those_that_depend_on_it() -> None:
    space: dict[str, Range | Choices] = {
        "a": Range(low=0, high=1, when={"b": 1}),
        "b": Choices(choices=(1, 2), when={"c": "x"}),
        "c": Choices(choices=("x", "y")),
    }
    order = drawing_order(space)
    assert order.index("c") < order.index("b") < order.index("a")


def test_pruned_is_not_reported_as_a_failed_check() -> None:
    assert not issubclass(Pruned, CheckFailed | InvalidInput)
