"""Behavioural tests of a candidate (Ribeiro et al. 2020): invariance, direction and minimum function, on test rows.

A test that cannot be run (no such input, no row, an undefined metric) does not count as passed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.artifacts.evaluation import BehaviourResult
from pipelines.metrics.scores import measure
from pipelines.params.behaviour import AnyBehaviour, Behaviour, Direction, InputChange, Invariance, Minimum
from pipelines.usecase import LABEL, ModelInputs
from pipelines.verdict import Verdict

Score = Callable[[pd.DataFrame], NDArray[np.float64]]


class CannotRun(Exception):
    """A test cannot be run; the message says why."""


def check_behaviour(
    tests: Sequence[AnyBehaviour], frame: pd.DataFrame, inputs: ModelInputs, score: Score, seed: int
) -> tuple[BehaviourResult, ...]:
    """Run every declared test on a labelled frame, which is not changed.

    Args:
        inputs: what the model reads; only these may be changed.
        score: probabilities (N,) of a frame.
        seed: of shuffles.
    """
    return tuple(_check(test, frame, inputs, score, seed) for test in tests)


def failures(results: Sequence[BehaviourResult]) -> float | None:
    """How many tests did not pass; None where none is declared, so that a gate on it holds."""
    return float(sum(one.status != "passed" for one in results)) if results else None


def _check(test: AnyBehaviour, frame: pd.DataFrame, inputs: ModelInputs, score: Score, seed: int) -> BehaviourResult:
    rows = frame.iloc[:0]
    try:
        rows = _segment(test, frame)
        if isinstance(test, Minimum):
            status, observed, reason = _minimum(test, rows, score)
        else:
            shift = score(_apply_changes(rows, test.change, inputs, seed)) - score(rows)
            if not np.isfinite(shift).all():
                raise CannotRun("a score is not a finite number")
            status, observed, reason = (
                _invariance(test, shift) if isinstance(test, Invariance) else _direction(test, shift)
            )
    except CannotRun as why:
        status, observed, reason = "could_not_run", None, str(why)
    return BehaviourResult(
        name=test.name, kind=test.kind, status=status, rows=len(rows), observed=observed, reason=reason
    )


Outcome = tuple[Literal["passed", "failed", "could_not_run"], float | None, str]


def _invariance(test: Invariance, shift: NDArray[np.float64]) -> Outcome:
    share = float((np.abs(shift) > test.tolerance).mean())
    reason = f"{share:.2%} of the scores move by more than {test.tolerance:g}, at most {test.max_share:.2%} may"
    return ("passed" if share <= test.max_share else "failed"), share, reason


def _direction(test: Direction, shift: NDArray[np.float64]) -> Outcome:
    mean = float(shift.mean())
    along = mean if test.moves == "up" else -mean
    reason = f"the mean score moves by {mean:+.4f}, must go {test.moves} or at most {test.tolerance:g} the other way"
    return ("passed" if along >= -test.tolerance else "failed"), mean, reason


def _minimum(test: Minimum, rows: pd.DataFrame, score: Score) -> Outcome:
    if len(rows) < test.min_rows:
        raise CannotRun(f"{len(rows)} rows, fewer than min_rows, which is {test.min_rows}")
    finding = test.bar.check(measure(rows[LABEL], score(rows)))
    if finding.verdict is Verdict.HOLD:
        raise CannotRun(finding.reason)
    return ("passed" if finding.verdict is Verdict.PASS else "failed"), finding.observed, finding.reason


def _segment(test: Behaviour, frame: pd.DataFrame) -> pd.DataFrame:
    mask = np.ones(len(frame), dtype=bool)
    for column, value in test.where.items():
        if column not in frame.columns:
            raise CannotRun(f"`where` names {column!r}, which the test frame does not have")
        mask &= np.asarray(frame[column].isin([value]), dtype=bool)
    if not mask.any():
        condition = " and ".join(f"{column} = {value}" for column, value in test.where.items()) or "the test frame"
        raise CannotRun(f"no row has {condition}" if test.where else "the test frame is empty")
    return frame[mask]


def _apply_changes(
    rows: pd.DataFrame, changes: Mapping[str, InputChange], inputs: ModelInputs, seed: int
) -> pd.DataFrame:
    """A copy with the changes; every changed column must be an input of the model."""
    columns: dict[str, Any] = {}
    for number, (name, change) in enumerate(changes.items()):
        if name not in inputs.names:
            raise CannotRun(f"{name!r} is not an input of the model, so that a change of it has no effect")
        values = rows[name]
        number_like = name in inputs.numeric
        if change.shuffle:
            order = np.random.default_rng([seed, number]).permutation(len(rows))
            columns[name] = values.to_numpy()[order]
        elif change.set is not None:
            if number_like != isinstance(change.set, float):
                raise CannotRun(
                    f"{name!r} cannot be set to {change.set!r}: it is a {'number' if number_like else 'string'}"
                )
            columns[name] = np.full(len(rows), change.set, dtype=np.float32 if number_like else object)
        elif not number_like:
            raise CannotRun(f"{name!r} is a string, to which nothing can be added and which cannot be scaled")
        else:
            numbers = values.astype("float32") * np.float32(1.0 if change.scale is None else change.scale)
            columns[name] = numbers + np.float32(change.add or 0.0)
    result = rows.assign(**columns)
    if all(result[name].equals(rows[name]) for name in changes):
        raise CannotRun("the change leaves every row as it was")
    return result
