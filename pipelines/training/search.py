"""Tuning: the settings of each trial, and the choice of the best one.

Settings are drawn by a tree-structured Parzen estimator (Bergstra et al. 2011), and trials that fall behind are pruned
by Hyperband (Li et al. 2018), both from Optuna. A trial depends only on the seed, its number and the records of earlier
trials, so that a killed search continues from its records to the same result.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from pipelines.errors import CheckFailed, InvalidInput
from pipelines.params import first_problem
from pipelines.params.search import Choices, Range, drawing_order
from pipelines.params.training import FamilySettings, Tuning

if TYPE_CHECKING:
    import optuna

RESOURCES = ("epochs", "max_iter")  # settings that limit the number of steps that a fit reports
REDUCTION = 3  # Hyperband lets about a third of the trials pass a rung
RUNGS = 2  # at most, before the last step


class Report(Protocol):
    """A function that a fit calls after a step (an epoch), counted from 1, with the validation log loss so far.

    Only for fits in which the loss after few steps predicts the final loss.
    """

    def __call__(self, step: int, loss: float) -> None:
        """May raise `Pruned`, which the fit must not catch."""


class Pruned(Exception):
    """The trial has fallen behind the others and ends."""


@dataclass(frozen=True)
class Space:
    """Everything that determines the draws of a search.

    Attributes:
        name: of the search; together with a trial's number it determines the bracket of Hyperband.
        declared: the settings of the first trial, and the ranges from which those of further trials are drawn.
    """

    name: str
    declared: FamilySettings
    tuning: Tuning
    seed: int

    @property
    def most_steps(self) -> int:
        """The most steps that a trial can report: folds, epochs or iterations."""
        if self.tuning.folds > 1:
            return self.tuning.folds
        values = self.declared.model_dump()
        for name in RESOURCES:
            if name in values:
                choices_or_range = self.declared.search.get(name)
                if isinstance(choices_or_range, Choices):
                    return int(max(values[name], *choices_or_range.choices))
                return int(max(values[name], choices_or_range.high if choices_or_range else 0))
        return 1

    def settings(self, record: Record) -> FamilySettings:
        """The settings of a trial."""
        return type(self.declared).model_validate({**record.params, "search": self.declared.search})


class Record(BaseModel):
    """The record of a finished trial, JSON-able.

    Attributes:
        params: all settings.
        drawn: the settings in the search space, in the sampler's form.
        loss: log loss on validation; for a pruned trial the last one reported. None where it is not finite.
        steps: losses that were reported, by step.
        rungs: losses at Hyperband's rungs.
        seconds: of wall time.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    params: dict[str, JsonValue]
    drawn: dict[str, JsonValue]
    state: Literal["complete", "pruned", "failed"]
    loss: float | None
    latency_ms: float | None = None
    steps: dict[int, float] = {}
    rungs: dict[str, float] = {}
    seconds: float = 0.0

    @property
    def finished(self) -> tuple[float, ...]:
        """The values that the sampler learns from."""
        values = (self.loss, self.latency_ms)
        return tuple(value for value in values if value is not None) if self.state != "failed" else ()


Objective = Callable[[FamilySettings, Report | None], tuple[float, float | None]]  # settings to loss and latency (ms)


def next_trial(space: Space, records: Sequence[Record], objective: Objective) -> Record:
    """Run the next trial. The first one takes the declared settings and is never pruned.

    Args:
        objective: gets None in place of a report function where pruning is off.

    Raises:
        InvalidInput: if the settings do not accept a draw.
    """
    import optuna

    number = len(records)
    study = _study(space, records)
    trial, settings = _first_trial(study, space.declared) if number == 0 else _draw_trial(study, space.declared)
    reports: dict[int, float] = {}

    def report(step: int, loss: float) -> None:
        reports[step] = loss if math.isfinite(loss) else math.inf
        trial.report(reports[step], step)
        if trial.should_prune() and number and step < space.most_steps:  # after the last step pruning saves nothing
            raise Pruned

    latency: float | None = None
    state: Literal["complete", "pruned", "failed"]
    try:
        loss, latency = objective(settings, report if space.tuning.pruning else None)
        state = "complete" if math.isfinite(loss) else "failed"
    except Pruned:
        loss = reports[max(reports)]
        state = "pruned" if math.isfinite(loss) else "failed"
    frozen = study.tell(
        trial, state=optuna.trial.TrialState.FAIL
    )  # the state in the study does not matter: the study is dropped, the record stays
    rungs = {key: value for key, value in frozen.system_attrs.items() if key.startswith("completed_rung_")}
    return Record(
        params=settings.model_dump(mode="json", exclude={"search"}),
        drawn=frozen.params,
        state=state,
        loss=loss if math.isfinite(loss) else None,
        latency_ms=latency,
        steps={step: value for step, value in reports.items() if math.isfinite(value)},
        rungs={key: value for key, value in rungs.items() if math.isfinite(value)},
    )


def _study(space: Space, records: Sequence[Record]) -> optuna.Study:
    """A study with the records as its trials, and the sampler of the next trial."""
    import optuna
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seed = int(np.random.SeedSequence([space.seed, len(records)]).generate_state(1)[0])
    pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
    if space.tuning.pruning:
        most = space.most_steps
        pruner = optuna.pruners.HyperbandPruner(max(1, most // REDUCTION**RUNGS), most, REDUCTION)
    study = optuna.create_study(
        study_name=space.name,
        directions=["minimize", "minimize"] if space.tuning.latency else ["minimize"],
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=pruner,
    )
    states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
    for record in records:
        study.add_trial(
            optuna.trial.create_trial(
                state=states[record.state],
                values=record.finished or None,
                params=record.drawn,
                distributions={param: _distribution(space.declared.search[param]) for param in record.drawn},
                intermediate_values=record.steps,
                system_attrs=record.rungs,
            )
        )
    return study


def _first_trial(study: optuna.Study, declared: FamilySettings) -> tuple[optuna.Trial, FamilySettings]:
    """A trial of the declared settings; those that lie in the search space count as drawn."""
    values_in_space = _values_in_space(declared)
    study.enqueue_trial(values_in_space)
    trial = study.ask()
    for name in values_in_space:
        _suggest(trial, name, declared.search[name])
    return trial, declared


def _values_in_space(declared: FamilySettings) -> dict[str, JsonValue]:
    """The declared values that lie in the search space and whose conditions hold, as the sampler writes them."""
    values = declared.model_dump(mode="json")
    values_in_space: dict[str, JsonValue] = {}
    for name, allowed in declared.search.items():
        value = values[name]
        if not all(values[other] == required for other, required in allowed.when.items()):
            continue
        if isinstance(allowed, Choices):
            if _text(value) in map(_text, allowed.choices):
                values_in_space[name] = _text(value)
        elif allowed.low <= value <= allowed.high:
            values_in_space[name] = value
    return values_in_space


def _draw_trial(study: optuna.Study, declared: FamilySettings) -> tuple[optuna.Trial, FamilySettings]:
    """A trial with drawn settings; those outside the search space, or whose conditions do not hold, are as declared."""
    trial = study.ask()
    values: dict[str, JsonValue] = {}
    for name in drawing_order(declared.search):
        allowed = declared.search[name]
        if all(other in values and values[other] == required for other, required in allowed.when.items()):
            values[name] = _suggest(trial, name, allowed)
    try:
        return trial, type(declared).model_validate({**declared.model_dump(), **values})
    except ValidationError as error:
        raise InvalidInput(f"a draw from `search` cannot be used: {first_problem(error)}; narrow the range") from None


def _suggest(trial: optuna.Trial, name: str, allowed: Range | Choices) -> JsonValue:
    if isinstance(allowed, Choices):
        value: JsonValue = json.loads(trial.suggest_categorical(name, [_text(choice) for choice in allowed.choices]))
        return value
    if allowed.integer:
        return trial.suggest_int(name, int(allowed.low), int(allowed.high), log=allowed.log)
    return trial.suggest_float(name, allowed.low, allowed.high, log=allowed.log)


def _distribution(allowed: Range | Choices) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(allowed, Choices):
        return CategoricalDistribution([_text(choice) for choice in allowed.choices])
    if allowed.integer:
        return IntDistribution(int(allowed.low), int(allowed.high), log=allowed.log)
    return FloatDistribution(allowed.low, allowed.high, log=allowed.log)


def _text(choice: Any) -> str:
    """A choice as text, since Optuna's categories are scalars and ours may be lists."""
    return json.dumps(choice)


def best_trial(records: Sequence[Record], latency_budget: float | None = None) -> int:
    """The first completed trial with the lowest loss, within the budget (ms) where there is one.

    Raises:
        CheckFailed: if there is none.
    """
    complete = [(r.loss, n) for n, r in enumerate(records) if r.state == "complete" and r.loss is not None]
    if not complete:
        raise CheckFailed(f"none of {len(records)} trials has a finite validation log loss; look at the training set")
    if latency_budget is None:
        return min(complete)[1]
    quick = [one for one in complete if (records[one[1]].latency_ms or 0.0) <= latency_budget]
    if not quick:
        fastest = min(records[n].latency_ms or 0.0 for _, n in complete)
        raise CheckFailed(
            f"none of {len(records)} trials scores a row within {latency_budget:g} ms (the fastest: {fastest:.3g} ms); "
            "raise training.tuning.latency.budget_ms, or search smaller models"
        )
    return min(quick)[1]


def pareto_front(records: Sequence[Record]) -> list[int]:
    """Completed trials that no other trial dominates in loss and latency."""
    points = {n: r.finished for n, r in enumerate(records) if r.state == "complete"}
    return [
        n
        for n, point in points.items()
        if not any(
            other != point and all(a <= b for a, b in zip(other, point, strict=True)) for other in points.values()
        )
    ]
