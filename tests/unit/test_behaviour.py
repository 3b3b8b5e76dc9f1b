"""Behavioural tests pass, fail, or cannot be run, which counts as a failure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter, ValidationError
from scipy.special import expit

from pipelines.artifacts.evaluation import BehaviourResult
from pipelines.params.behaviour import Behaviours
from pipelines.training.behaviour import check_behaviour, failures
from pipelines.usecase import LABEL
from tests.synthetic import INPUTS, frame

FRAME = frame(3000, 1)


def score(rows: pd.DataFrame) -> Any:
    """Rises with x; knows one kind; nothing else."""
    return expit(1.1 * rows["x"].to_numpy() + (rows["kind"] == "d").to_numpy() - 0.5)


def check(rows: pd.DataFrame = FRAME, scorer: Any = score, **declared: Any) -> BehaviourResult:
    tests = TypeAdapter(Behaviours).validate_python([{"name": "one", **declared}])
    (result,) = check_behaviour(tests, rows, INPUTS, scorer, 1)
    return result


INVARIANT: dict[str, Any] = {"kind": "invariance", "tolerance": 0.01}
RISES: dict[str, Any] = {"kind": "direction", "moves": "up"}
RANKS: dict[str, Any] = {"kind": "minimum", "bar": {"metric": "roc_auc", "direction": "at_least", "threshold": 0.7}}


@pytest.mark.parametrize(
    ("declared", "status"),
    [
        ({**INVARIANT, "change": {"y": {"add": 1}}}, "passed"),
        ({**INVARIANT, "change": {"y": {"shuffle": True}, "site": {"set": "s01"}}}, "passed"),
        ({**INVARIANT, "change": {"x": {"shuffle": True}}}, "failed"),
        ({**INVARIANT, "change": {"kind": {"set": "d"}}}, "failed"),
        ({**INVARIANT, "change": {"kind": {"set": "d"}}, "max_share": 0.9}, "passed"),
        ({**INVARIANT, "change": {"x": {"add": 0.01}}, "tolerance": 0.003}, "passed"),
        ({**INVARIANT, "change": {"kind": {"set": "a"}}, "where": {"kind": "b"}}, "passed"),
        ({**RISES, "change": {"x": {"add": 0.5}}}, "passed"),
        ({**RISES, "change": {"x": {"add": -0.5}}}, "failed"),
        ({**RISES, "change": {"x": {"add": -0.5}}, "moves": "down"}, "passed"),
        ({**RISES, "change": {"x": {"add": -0.01}}, "tolerance": 0.01}, "passed"),
        ({**RISES, "change": {"y": {"add": 1}}}, "passed"),  # the score does not fall
        ({**RISES, "change": {"x": {"scale": -1.0, }}, "where": {"kind": "d"}, "tolerance": 1.0}, "passed"),
        (RANKS, "passed"),
        ({**RANKS, "where": {"kind": "d"}}, "passed"),
        ({**RANKS, "bar": {"metric": "roc_auc", "direction": "at_least", "threshold": 0.99}}, "failed"),
    ],
)  # fmt: skip
def test_a_behavioural_test_passes_or_fails_on_what_the_model_does(declared: dict[str, Any], status: str) -> None:
    before = FRAME.copy(deep=True)
    result = check(**declared)
    assert result.status == status and result.observed is not None and result.rows > 500
    pd.testing.assert_frame_equal(FRAME, before)


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        ({**INVARIANT, "change": {"colour": {"shuffle": True}}}, "'colour' is not an input of the model"),
        ({**INVARIANT, "change": {LABEL: {"add": 1}}}, "'label' is not an input of the model"),
        ({**RISES, "change": {"kind": {"add": 1}}}, "'kind' is a string"),
        ({**RISES, "change": {"x": {"set": "high"}}}, "'x' cannot be set to 'high': it is a number"),
        ({**RISES, "change": {"kind": {"set": 3}}}, "it is a string"),
        ({**INVARIANT, "change": {"y": {"add": 0}}}, "leaves every row as it was"),
        ({**INVARIANT, "change": {"y": {"add": 1}}, "where": {"kind": "zz"}}, "no row has kind = zz"),
        ({**RANKS, "where": {"kind": "a", "site": "nowhere"}}, "no row has kind = a and site = nowhere"),
        ({**RANKS, "where": {"planet": "mars"}}, "'planet', which the test frame does not have"),
        ({**RANKS, "where": {"kind": "a"}, "min_rows": 10_000}, "fewer than min_rows"),
        ({**RANKS, "where": {"label": 1}}, "roc_auc is nan"),
    ],
)
def test_a_test_that_cannot_be_run_counts_as_failed_and_says_why(declared: dict[str, Any], reason: str) -> None:
    result = check(**declared)
    assert result.status == "could_not_run" and reason in result.reason and result.observed is None
    assert failures([result]) == 1


@pytest.mark.parametrize("declared", [{**INVARIANT, "change": {"y": {"add": 1}}}, RANKS])
def test_nan_scores_never_pass(declared: dict[str, Any]) -> None:
    assert check(**declared, scorer=lambda rows: np.full(len(rows), np.nan)).status == "could_not_run"
    assert check(**declared, rows=FRAME.iloc[:0]).status == "could_not_run"


def test_failures_are_counted_and_without_declared_tests_there_is_no_metric() -> None:
    assert failures([]) is None
    results = [
        check(**RANKS),
        check(**{**RISES, "change": {"x": {"add": -1}}}),
        check(**{**RANKS, "where": {"z": "1"}}),
    ]
    assert [one.status for one in results] == ["passed", "failed", "could_not_run"] and failures(results) == 2.0


def test_shuffles_are_seeded() -> None:
    tests = TypeAdapter(Behaviours).validate_python([{"name": "one", **INVARIANT, "change": {"x": {"shuffle": True}}}])
    one, same, other = (check_behaviour(tests, FRAME, INPUTS, score, seed)[0].observed for seed in (1, 1, 2))
    assert one == same != other


@pytest.mark.parametrize(
    "declared",
    [
        {**INVARIANT, "change": {}},
        {**INVARIANT, "change": {"x": {}}},
        {**INVARIANT, "change": {"x": {"add": 1, "scale": 2}}},
        {**INVARIANT, "change": {"x": {"add": float("nan")}}},
        {**RISES, "change": {"x": {"add": 1}}, "moves": "sideways"},
        {"kind": "charm"},
        {**RANKS, "name": "Not a name"},
        {**RANKS, "bar": {**RANKS["bar"], "metric": "charm"}},
        {**RANKS, "bar": {**RANKS["bar"], "metric": "behaviour_failures"}},
    ],
)
def test_an_invalid_declaration_is_refused(declared: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Behaviours).validate_python([{"name": "one", **declared}])
    with pytest.raises(ValidationError, match="occurs twice"):
        TypeAdapter(Behaviours).validate_python([{"name": "one", **RANKS}] * 2)
