"""Constraints between params and the declarations of a use case: without them runs would fail, or never pass.

Each constraint has a name and is checked whenever a params file is read: before any step, on every way in.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from pipelines.closed import closed_of
from pipelines.declare import Declared, Each, derived_of
from pipelines.metric_names import BEHAVIOUR_FAILURES
from pipelines.params import Params
from pipelines.params.behaviour import Changing
from pipelines.periods import A_DAY
from pipelines.usecase import DAY, KNOWN_AT, MONTH, PERIOD, PREDICTED_AT, ModelInputs, UseCase, auxiliary_of

MADE = (DAY, MONTH)  # columns of every evaluation
Constraint = Callable[[Params, UseCase], Iterator[str]]


@dataclass(frozen=True)
class Violation:
    """A constraint that does not hold, by its name, with the values and the remedy."""

    constraint: str
    message: str

    def __str__(self) -> str:
        return f"{self.message} ({self.constraint}; `flightdeck check` shows all)"


def violations(params: Params, usecase: UseCase) -> list[Violation]:
    """The violated constraints, in the order of CONSTRAINTS."""
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
    yield from _strangers(
        "sources", params.sources, f"table of {usecase.name}", [table.name for table in usecase.tables]
    )


def _views(params: Params, usecase: UseCase) -> Iterator[str]:
    """Every view of `features.health.views` is a feature table."""
    names = [table.name for table in usecase.feature_tables]
    yield from _strangers("features.health.views", params.features.health.views, "feature table", names)


def _strangers(section: str, given: Iterable[str], what: str, names: Sequence[str]) -> Iterator[str]:
    for name in given:
        if name not in names:
            yield f"{section} names {name}, which is no {what}; {_choose(name, names)}"


def _embargo(params: Params, usecase: UseCase) -> Iterator[str]:
    """The embargo between windows is as long as the label's maturity, so that no label of one lies in the next."""
    yield from _too_short("splits.embargo_days", params.splits.embargo_days, usecase)


def _monitoring(params: Params, usecase: UseCase) -> Iterator[str]:
    """The window of a monitoring run lies far enough back for its labels to have matured."""
    yield from _too_short("monitoring.lag_days", params.monitoring.lag_days, usecase)


def _too_short(key: str, days: int, usecase: UseCase) -> Iterator[str]:
    if days * A_DAY < usecase.maturity:
        yield (
            f"{key} is {days}, shorter than the label's maturity of {usecase.maturity}; set it to at least "
            f"{_days(usecase.maturity)}"
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
    """A label that looks ahead has matured only after what it reads has happened."""
    ahead = getattr(usecase, "looks_ahead", timedelta(0))
    if ahead < timedelta(0) or (ahead and ahead >= usecase.maturity):
        yield (
            f"{usecase.name} declares looks_ahead {ahead} and maturity {usecase.maturity}; a label is known when all "
            "that it reads has happened, and counts if that is within its maturity: declare a longer maturity"
        )


def _desk(params: Params, usecase: UseCase) -> Iterator[str]:
    """The windows of `dvc repro` lie within the source, and leave days to train on."""
    desk = params.desk
    if desk is None:
        return
    for name in ("start", "monitor_start"):
        if not usecase.start <= getattr(desk, name) < usecase.end:
            yield f"desk.{name} is {getattr(desk, name)}, outside the source's days, {usecase.start} to {usecase.end}"
    for name in ("end", "monitor_end"):
        if getattr(desk, name) > usecase.end:
            yield f"desk.{name} is {getattr(desk, name)}, after the source's end {usecase.end}"
    needed = _days_before_as_of(params)
    if (given := (desk.as_of - max(desk.start, usecase.start)).days) <= needed:
        yield (
            f"desk has {given} days before as_of {desk.as_of}, and test, validation and two embargoes take {needed}: "
            "none is left for training; choose a later as_of, or shorten splits.test_days and splits.validation_days"
        )
    if (desk.monitor_end - desk.monitor_start) <= usecase.maturity:
        yield (
            f"desk monitors {desk.monitor_start} to {desk.monitor_end}, and labels take {usecase.maturity}: none has "
            "come when it is judged; choose a longer window"
        )


def _history(params: Params, usecase: UseCase) -> Iterator[str]:
    """A source that ends holds enough days for the windows."""
    needed = _days_before_as_of(params)
    if usecase.end != date.max and (days := (usecase.end - usecase.start).days) <= needed:
        yield (
            f"{usecase.name} has {days} days, {usecase.start} to {usecase.end}; test, validation and two embargoes "
            f"take {needed}: none is left for training; shorten splits.test_days and splits.validation_days"
        )


def _days_before_as_of(params: Params) -> int:
    splits = params.splits
    return splits.test_days + splits.validation_days + 2 * splits.embargo_days


def _cleaning(params: Params, usecase: UseCase) -> Iterator[str]:
    """Every column with a rule of its own under `cleaning` is a numeric input of the service that is trained on."""
    service = params.features.service
    known = usecase.model_inputs.get(service, ModelInputs((), ())).numeric
    for name in sorted(params.cleaning.columns_with_changes.difference(known) if known else ()):
        yield f"cleaning names {name}, which is no numeric input of {service}; {_choose(name, known)}"


def _behaviour(params: Params, usecase: UseCase) -> Iterator[str]:
    """Behaviours change only inputs of the model; a gate on their failures needs at least one."""
    inputs = usecase.model_inputs.get(params.features.service, ModelInputs((), ()))
    columns = (*inputs.names, *usecase.request_columns, *usecase.request_keys, *usecase.slices)
    for behaviour in params.behaviour if inputs.names else ():
        for name in sorted(set(behaviour.where) - {*columns, *MADE}):
            yield f"behaviour {behaviour.name} is about rows by {name}, which none has; {_choose(name, columns)}"
        for name, change in behaviour.change.items() if isinstance(behaviour, Changing) else ():
            if name not in inputs.names:
                yield (
                    f"behaviour {behaviour.name} changes {name}, which is no input of {params.features.service}; "
                    f"{_choose(name, inputs.names)}"
                )
            elif name in inputs.categorical and (change.add is not None or change.scale is not None):
                yield f"behaviour {behaviour.name} adds to or scales {name}, which is no number; use set or shuffle"
    if not params.behaviour and any(floor.metric == BEHAVIOUR_FAILURES for floor in params.gate.floors):
        yield f"gate.floors has {BEHAVIOUR_FAILURES}, which has no value without a behaviour; declare one, or drop it"


def _derived(params: Params, usecase: UseCase) -> Iterator[str]:
    """Derived features have unique names, read only features derived before them, and lists of the request by keys."""
    declared, before = derived_of(usecase), set[str]()
    all_names = [name for one in declared for name in one.names]
    sent = usecase.request_columns
    keys = dict.fromkeys(key for table in usecase.feature_tables for key in table.keys)
    for one in declared:
        what = f"derived {', '.join(one.names)}"
        for name in one.names:
            if name in {*before, *sent, *usecase.request_keys, PREDICTED_AT}:
                yield f"{what}: there is a column {name} already; give it another name"
        for name in one.reads:
            if name in all_names and name not in before:
                yield f"{what} reads {name}, which is not derived before it; declare that first"
        if isinstance(one, Each) and one.of not in sent:
            yield f"{what} reads the list {one.of}, which is no column of requests; {_choose(one.of, sent)}"
        if isinstance(one, Each) and one.key not in keys:
            yield f"{what} reads by {one.key}, which is no key of a feature table; {_choose(one.key, keys)}"
        before |= {*one.names}


def _declared(params: Params, usecase: UseCase) -> Iterator[str]:
    """Declared features have one name each, and the keys of those that a model reads come with its requests."""
    views = [table for table in usecase.feature_tables if isinstance(table, Declared)]
    inputs, sent = usecase.model_inputs.get(params.features.service), {*usecase.request_columns, *usecase.request_keys}
    sent |= {one.key for one in derived_of(usecase) if isinstance(one, Each)}
    owner: dict[str, str] = {}
    for view in views:
        for name in view.names:
            if name in {*view.keys, KNOWN_AT, DAY, PERIOD}:
                yield f"view {view.name} has a feature {name}, as a key or a column of the chain is named; rename it"
            if other := owner.get(name):
                yield f"views {other} and {view.name} both have a feature {name}; give one of them a prefix"
            owner[name] = view.name
        read = set(view.names).intersection(inputs.names if inputs else ())
        if read and (lacking := sorted(set(view.keys) - sent)):
            yield (
                f"view {view.name} is read by {', '.join(lacking)}, which no request has; choose from "
                f"{', '.join(sorted(sent))}, or let request_features give it and name it in request_keys"
            )


def _families(params: Params, usecase: UseCase) -> Iterator[str]:
    """A family with two tasks needs an auxiliary label."""
    if "mmoe" in params.training.families and not auxiliary_of(usecase):
        yield f"training.families has mmoe, and {usecase.name} declares no `auxiliary` label; declare one, or drop mmoe"


def _rollout_time(params: Params, usecase: UseCase) -> Iterator[str]:
    """A rollout can end within `max_days`: its stages take less, the first of which waits for a label."""
    first, *others = params.rollout.stages
    days = max(first.min_hours / 24, usecase.maturity / A_DAY) + sum(stage.min_hours for stage in others) / 24
    if params.rollout.judge.max_days < days:
        yield (
            f"rollout.judge.max_days is {params.rollout.judge.max_days:g}; the stages take {days:g} days, of which the "
            f"first waits for labels, so that no challenger is ever promoted; set it to at least {math.ceil(days)}"
        )


def _label_age(params: Params, usecase: UseCase) -> Iterator[str]:
    """Labels may pause for a day, and for as many as are closed in a row."""
    hours, closed = params.rollout.watch.max_label_age_hours, closed_of(usecase).longest
    if hours <= (pause := 24 * (1 + closed)):
        yield (
            f"rollout.watch.max_label_age_hours is {hours:g}, and for {1 + closed} days no label may come, so that "
            f"looks hold though nothing is wrong; set it to more than {pause}"
        )


def _stages(params: Params, usecase: UseCase) -> Iterator[str]:
    """The first stage of a rollout does not end before it could be judged."""
    first = params.rollout.stages[0]
    if not first.min_blocks and not first.min_pairs:
        yield (
            f"rollout.stages.0 ({first.name}) has min_blocks 0 and min_pairs 0, so that it ends without one label; set "
            "one of them to at least 1"
        )


CONSTRAINTS: Mapping[str, Constraint] = {
    "service-with-inputs": _service,
    "sources-are-tables": _sources,
    "health-of-views": _views,
    "embargo-covers-maturity": _embargo,
    "test-window-has-labels": _test_window,
    "label-reads-within-maturity": _label_reach,
    "monitoring-sees-labels": _monitoring,
    "history-covers-windows": _history,
    "desk-leaves-training": _desk,
    "cleaning-of-inputs": _cleaning,
    "behaviour-of-inputs": _behaviour,
    "derived-from-what-there-is": _derived,
    "declared-once": _declared,
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
