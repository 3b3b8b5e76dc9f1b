"""Tuning: which settings a trial takes, and which trial wins.

Settings are drawn by a tree-structured Parzen estimator (Bergstra et al. 2011), and trials that fall behind are ended
by Hyperband (Li et al. 2018), both Optuna's. A trial depends on the seed, its number and the records of those before
it, and on nothing else: a search that was killed goes on from its records to the same result.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from pipelines.errors import CheckFailed, InvalidInput
from pipelines.params import first_problem
from pipelines.params.search import Choices, Range, drawing_order
from pipelines.params.training import Tuning

if TYPE_CHECKING:
    import optuna

RESOURCES = ("epochs", "max_iter")  # settings that say how many steps a fit reports at most
REDUCTION = 3  # Hyperband lets about a third of the trials pass a rung
RUNGS = 2  # at most, before the last step


class Progress(Protocol):
    """What a fit calls after a step (an epoch), counted from 1, with the validation log loss so far.

    Only where the loss after few steps says something about the loss after all of them.
    """

    def __call__(self, step: int, loss: float) -> None:
        """May raise `Pruned`, which the fit lets pass."""


class Pruned(Exception):
    """The trial fell behind the others and is ended."""


class Searchable(Protocol):
    @property
    def search(self) -> Mapping[str, Range | Choices]: ...

    def model_dump(self, *, mode: str = "python", exclude: set[str] | None = None) -> dict[str, Any]: ...

    @classmethod
    def model_validate(cls, obj: Any) -> Any: ...


class Record(BaseModel):
    """All that is known of a finished trial, JSON-able.

    Attributes:
        params: the settings, in full.
        drawn: those in the search space, as the sampler writes them.
        loss: log loss of validation; of a pruned trial the last one reported. None where it is not finite.
        steps: losses that were reported, by step.
        rungs: losses at Hyperband's rungs.
        seconds: of wall time.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    params: dict[str, Any]
    drawn: dict[str, Any]
    state: Literal["complete", "pruned", "failed"]
    loss: float | None
    latency_ms: float | None = None
    steps: dict[int, float] = {}
    rungs: dict[str, float] = {}
    seconds: float = 0.0

    @property
    def finished(self) -> tuple[float, ...]:
        """What the sampler learns from."""
        values = (self.loss, self.latency_ms)
        return tuple(value for value in values if value is not None) if self.state != "failed" else ()


Objective = Callable[[Any, Progress | None], tuple[float, float | None]]  # settings to loss and latency (ms)


def next_trial(
    declared: Searchable, tuning: Tuning, seed: int, records: Sequence[Record], objective: Objective, name: str
) -> Record:
    """Run the trial after those on record. The first takes the declared settings and is never pruned.

    Args:
        objective: is given None to report to where nothing is pruned.
        name: of the search; with the number of a trial it decides Hyperband's bracket.

    Raises:
        InvalidInput: if a draw is not one that the settings take.
    """
    import optuna

    number = len(records)
    study = _study(declared, tuning, seed, records, name)
    if number == 0:
        study.enqueue_trial(_contained(declared))
    trial = study.ask()
    settings = declared if number == 0 else _drawn(declared, trial)
    if number == 0:
        for param in _contained(declared):
            _suggest(trial, param, declared.search[param])
    reported: dict[int, float] = {}
    last = most_steps(declared, tuning)

    def progress(step: int, loss: float) -> None:
        reported[step] = loss if math.isfinite(loss) else math.inf
        trial.report(reported[step], step)
        if trial.should_prune() and number and step < last:  # after the last step there is nothing left to save
            raise Pruned

    latency: float | None = None
    state: Literal["complete", "pruned", "failed"]
    try:
        loss, latency = objective(settings, progress if tuning.pruning else None)
        state = "complete" if math.isfinite(loss) else "failed"
    except Pruned:
        loss = reported[max(reported)]
        state = "pruned" if math.isfinite(loss) else "failed"
    told = study.tell(trial, state=optuna.trial.TrialState.FAIL)  # the study ends here; what counts is the record
    return Record(
        params=settings.model_dump(mode="json", exclude={"search"}),
        drawn=told.params,
        state=state,
        loss=loss if math.isfinite(loss) else None,
        latency_ms=latency,
        steps={step: value for step, value in reported.items() if math.isfinite(value)},
        rungs={k: v for k, v in told.system_attrs.items() if k.startswith("completed_rung_") and math.isfinite(v)},
    )


def _study(declared: Searchable, tuning: Tuning, seed: int, records: Sequence[Record], name: str) -> optuna.Study:
    """A study that has seen the records, with the sampler of the next trial."""
    import optuna
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    derived = int(np.random.SeedSequence([seed, len(records)]).generate_state(1)[0])
    pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
    if tuning.pruning:
        most = most_steps(declared, tuning)
        pruner = optuna.pruners.HyperbandPruner(max(1, most // REDUCTION**RUNGS), most, REDUCTION)
    study = optuna.create_study(
        study_name=name,
        directions=["minimize", "minimize"] if tuning.latency else ["minimize"],
        sampler=optuna.samplers.TPESampler(seed=derived),
        pruner=pruner,
    )
    states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
    for record in records:
        study.add_trial(
            optuna.trial.create_trial(
                state=states[record.state],
                values=record.finished or None,
                params=record.drawn,
                distributions={param: _distribution(declared.search[param]) for param in record.drawn},
                intermediate_values=record.steps,
                system_attrs=record.rungs,
            )
        )
    return study


def most_steps(declared: Searchable, tuning: Tuning) -> int:
    """The most steps that a trial can report: folds, epochs or iterations."""
    if tuning.folds > 1:
        return tuning.folds
    values = declared.model_dump()
    for name in RESOURCES:
        if name in values:
            allowed = declared.search.get(name)
            if isinstance(allowed, Choices):
                return int(max(values[name], *allowed.choices))
            return int(max(values[name], allowed.high if allowed else 0))
    return 1


def _contained(declared: Searchable) -> dict[str, Any]:
    """The declared values that lie in the search space and whose conditions hold, as the sampler writes them."""
    values = declared.model_dump(mode="json")
    found = {}
    for name, allowed in declared.search.items():
        value = values[name]
        if not all(values[other] == wanted for other, wanted in allowed.when.items()):
            continue
        if isinstance(allowed, Choices):
            if _text(value) in map(_text, allowed.choices):
                found[name] = _text(value)
        elif allowed.low <= value <= allowed.high:
            found[name] = value
    return found


def _drawn(declared: Searchable, trial: optuna.Trial) -> Any:
    values: dict[str, Any] = {}
    for name in drawing_order(declared.search):
        allowed = declared.search[name]
        if all(other in values and values[other] == wanted for other, wanted in allowed.when.items()):
            values[name] = _suggest(trial, name, allowed)
    try:
        return type(declared).model_validate({**declared.model_dump(), **values})
    except ValidationError as error:
        raise InvalidInput(f"a draw from `search` cannot be used: {first_problem(error)}; narrow the range") from None


def _suggest(trial: optuna.Trial, name: str, allowed: Range | Choices) -> Any:
    if isinstance(allowed, Choices):
        return json.loads(trial.suggest_categorical(name, [_text(choice) for choice in allowed.choices]))
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
    """Optuna's categories are scalars; ours may be lists."""
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
    """Completed trials than which none is better in loss and latency at once."""
    points = {n: r.finished for n, r in enumerate(records) if r.state == "complete"}
    return [
        n
        for n, point in points.items()
        if not any(
            other != point and all(a <= b for a, b in zip(other, point, strict=True)) for other in points.values()
        )
    ]
