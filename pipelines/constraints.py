"""What must hold between params and the declarations of a use case, so that no run can fail for it, or never pass.

Each constraint has a name, by which it is refused when a params file is read: before any step, and by every way in.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from pipelines.metric_names import BEHAVIOUR_FAILURES
from pipelines.params import Params
from pipelines.params.behaviour import Changing
from pipelines.usecase import UseCase, auxiliary_of, calendar_of, looks_ahead_of

A_DAY, AN_HOUR = timedelta(days=1), timedelta(hours=1)
Constraint = Callable[[Params, UseCase], Iterator[str]]


@dataclass(frozen=True)
class Violation:
    """A constraint that does not hold, by its name, with the values and the remedy."""

    constraint: str
    message: str


def violations(params: Params, usecase: UseCase) -> list[Violation]:
    """What does not hold, in the order of CONSTRAINTS."""
    return [Violation(name, why) for name, constraint in CONSTRAINTS.items() for why in constraint(params, usecase)]


def _service(params: Params, usecase: UseCase) -> Iterator[str]:
    """The feature service that models are trained on has inputs."""
    service = params.features.service
    if service not in usecase.model_inputs:
        remedy = _choose(service, usecase.model_inputs)
        yield f"features.service is {service}, for which {usecase.name} declares no model_inputs; {remedy}"
    elif not usecase.model_inputs[service].names:
        yield f"features.service is {service}, whose model_inputs are empty; declare at least one"


def _sources(params: Params, usecase: UseCase) -> Iterator[str]:
    """Every section of `sources` is a table of the use case."""
    names = [table.name for table in usecase.tables]
    for name in params.sources:
        if name not in names:
            yield f"sources names {name}, which is no table of {usecase.name}; {_choose(name, names)}"


def _views(params: Params, usecase: UseCase) -> Iterator[str]:
    """Every view of `features.health.views` is a feature table."""
    names = [table.name for table in usecase.feature_tables]
    for name in params.features.health.views:
        if name not in names:
            yield f"features.health.views names {name}, which is no feature table; {_choose(name, names)}"


def _embargo(params: Params, usecase: UseCase) -> Iterator[str]:
    """The embargo between windows is as long as the label's maturity, so that no label of one lies in the next."""
    days = params.splits.embargo_days
    if days * A_DAY < usecase.maturity:
        yield (
            f"splits.embargo_days is {days}, shorter than the label's maturity of {usecase.maturity}; set it to at "
            f"least {_days(usecase.maturity)}"
        )


def _test_window(params: Params, usecase: UseCase) -> Iterator[str]:
    """The test window is longer than the label's maturity, so that it has labels at all."""
    days = params.splits.test_days
    if days * A_DAY <= usecase.maturity:
        yield (
            f"splits.test_days is {days}, and no label of the last {usecase.maturity} is known: a test window without "
            f"labels at any as_of; set it to more than {_days(usecase.maturity)}, with {_days(usecase.maturity) + 28} "
            "for four weeks of labels"
        )


def _label_reach(params: Params, usecase: UseCase) -> Iterator[str]:
    """A label looks no further ahead than its maturity."""
    if (ahead := looks_ahead_of(usecase)) > usecase.maturity or ahead < timedelta(0):
        yield (
            f"{usecase.name} declares looks_ahead {ahead} and maturity {usecase.maturity}; a label is known when all "
            "that it reads has happened: declare a maturity of at least looks_ahead, and looks_ahead of at least 0"
        )


def _monitoring(params: Params, usecase: UseCase) -> Iterator[str]:
    """The window of a monitoring run lies so far back that its labels have matured."""
    days = params.monitoring.lag_days
    if days * A_DAY < usecase.maturity:
        yield (
            f"monitoring.lag_days is {days}, shorter than the label's maturity of {usecase.maturity}, so that "
            f"no label of the newest predictions counts; set it to at least {_days(usecase.maturity)}"
        )


def _desk(params: Params, usecase: UseCase) -> Iterator[str]:
    """The windows of `dvc repro` lie within the source, and leave days to train on."""
    desk, splits = params.desk, params.splits
    if desk is None:
        return
    for name in ("start", "monitor_start"):
        if not usecase.start <= getattr(desk, name) < usecase.end:
            yield f"desk.{name} is {getattr(desk, name)}, outside the source's days, {usecase.start} to {usecase.end}"
    for name in ("end", "monitor_end"):
        if getattr(desk, name) > usecase.end:
            yield f"desk.{name} is {getattr(desk, name)}, after the source's end {usecase.end}"
    needed = splits.test_days + splits.validation_days + 2 * splits.embargo_days
    if (given := (desk.as_of - max(desk.start, usecase.start)).days) <= needed:
        yield (
            f"desk has {given} days before as_of {desk.as_of}, and test, validation and two embargoes take {needed}: "
            "none is left for training; choose a later as_of, or shorten splits.test_days and splits.validation_days"
        )


def _cleaning(params: Params, usecase: UseCase) -> Iterator[str]:
    """Every column with a rule of its own under `cleaning` is a numeric input of some service."""
    known = {name for inputs in usecase.model_inputs.values() for name in inputs.numeric}
    for name in sorted(params.cleaning.columns_with_changes - known):
        yield f"cleaning names {name}, which is no numeric input of any service; {_choose(name, sorted(known))}"


def _behaviour(params: Params, usecase: UseCase) -> Iterator[str]:
    """Behaviours change only inputs of the model; a gate on their failures needs at least one."""
    inputs = usecase.model_inputs.get(params.features.service)
    for behaviour in params.behaviour if inputs else ():
        for name in behaviour.change if isinstance(behaviour, Changing) else ():
            if name not in inputs.names:  # type: ignore[union-attr]
                yield (
                    f"behaviour {behaviour.name} changes {name}, which is no input of {params.features.service}; "
                    f"{_choose(name, inputs.names)}"  # type: ignore[union-attr]
                )
    if not params.behaviour and any(floor.metric == BEHAVIOUR_FAILURES for floor in params.gate.floors):
        yield f"gate.floors has {BEHAVIOUR_FAILURES}, which has no value without a behaviour; declare one, or drop it"


def _families(params: Params, usecase: UseCase) -> Iterator[str]:
    """A family with two tasks needs an auxiliary label."""
    if "mmoe" in params.training.families and not auxiliary_of(usecase):
        yield f"training.families has mmoe, and {usecase.name} declares no `auxiliary` label; declare one, or drop mmoe"


def _rollout_time(params: Params, usecase: UseCase) -> Iterator[str]:
    """A rollout can be decided within its days: its stages, and its blocks with their labels, fit into `max_days`."""
    judge, stages = params.rollout.judge, params.rollout.stages
    ramp = sum(stage.min_hours for stage in stages) / 24
    evidence = judge.min_blocks * (calendar_of(usecase).length / A_DAY) + usecase.maturity / A_DAY
    if judge.max_days < (needed := max(ramp, evidence)):
        yield (
            f"rollout.judge.max_days is {judge.max_days:g}; the stages take {ramp:g} days, {judge.min_blocks} blocks "
            f"with labels {evidence:g}, so that no challenger is ever promoted; set it to at least {math.ceil(needed)}"
        )


def _label_age(params: Params, usecase: UseCase) -> Iterator[str]:
    """The newest label may be as old as its maturity."""
    hours = params.rollout.watch.max_label_age_hours
    if hours * AN_HOUR <= usecase.maturity:
        yield (
            f"rollout.watch.max_label_age_hours is {hours:g}, and labels take {usecase.maturity}, so that every look "
            f"holds; set it to more than {math.ceil(usecase.maturity / AN_HOUR)}"
        )


def _stages(params: Params, usecase: UseCase) -> Iterator[str]:
    """No stage of a rollout ends before anything of it could be judged."""
    for number, stage in enumerate(params.rollout.stages):
        if not stage.min_blocks and not stage.min_pairs:
            yield (
                f"rollout.stages.{number} ({stage.name}) has min_blocks 0 and min_pairs 0, so that it ends without one "
                "label; set one of them to at least 1"
            )


CONSTRAINTS: Mapping[str, Constraint] = {
    "service-with-inputs": _service,
    "sources-are-tables": _sources,
    "health-of-views": _views,
    "embargo-covers-maturity": _embargo,
    "test-window-has-labels": _test_window,
    "label-reads-within-maturity": _label_reach,
    "monitoring-sees-labels": _monitoring,
    "desk-leaves-training": _desk,
    "cleaning-of-inputs": _cleaning,
    "behaviour-of-inputs": _behaviour,
    "family-has-labels": _families,
    "rollout-can-end": _rollout_time,
    "labels-in-time": _label_age,
    "stages-wait-for-labels": _stages,
}


def _days(length: timedelta) -> int:
    return -(-length // A_DAY)


def _choose(name: str, names: Sequence[str] | Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, list(names), n=2)
    return f"did you mean {' or '.join(close)}?" if close else f"choose from {', '.join(names) or 'none'}"
