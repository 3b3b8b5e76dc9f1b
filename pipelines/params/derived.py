"""Defaults of params.yaml that follow from the declarations of a use case alone, never from its data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pipelines.json_text import JsonObject
from pipelines.params.gates import FLOORS_OF_ALL, NO_FAILURE
from pipelines.params.training import READS_MISSING
from pipelines.periods import A_DAY, A_MINUTE

Given = Mapping[str, Any]  # the unchecked content of a params file

AN_HOUR = timedelta(hours=1)
WINDOW_DAYS = 28  # of validation and of test: every weekday four times
LABEL_DAYS = 3  # days without labels that are still normal
ROLLOUT_DAYS = 60
SPARE_DAYS = 5  # of wall time, after the last day on which a rollout can be decided


@dataclass(frozen=True)
class Declared:
    """The declarations from which defaults follow.

    Attributes:
        maturity: the delay after which every label is known.
        period: the length of windows and partitions.
        services: the feature services with inputs.
        closed_days: the most closed days in a row.
    """

    maturity: timedelta
    period: timedelta
    services: tuple[str, ...]
    closed_days: int = 0


@dataclass(frozen=True)
class Default:
    """A default, by its dotted key, and the declaration from which it follows."""

    key: str
    value: Any
    reason: str


def defaults(declared: Declared, given: Given) -> Iterator[Default]:
    """The defaults of keys that a params file leaves out.

    Args:
        given: the unchecked content of the file.
    """
    for default in _all(declared, given):
        if value_at(given, default.key) is None:
            yield default


def _all(declared: Declared, given: Given) -> Iterator[Default]:
    days = -(-declared.maturity // A_DAY)
    label = f"from the label's maturity, {declared.maturity}"
    yield Default("schedules.data", cron(declared.period), f"from the period, {declared.period}")
    if len(declared.services) == 1:
        yield Default("features.service", declared.services[0], "the only one with model_inputs")
    yield Default("splits.embargo_days", days, label)
    yield Default("splits.validation_days", WINDOW_DAYS, "default")
    yield Default("splits.test_days", WINDOW_DAYS + days, label)
    if value_at(given, "behaviour"):
        floors = [one.model_dump(mode="json") for one in (*FLOORS_OF_ALL, NO_FAILURE)]
        yield Default("gate.floors", floors, "default, and no failure of what `behaviour` declares")
    yield Default("monitoring.lag_days", days, label)
    pause = f"{LABEL_DAYS} days, and {declared.closed_days} closed ones in a row" if declared.closed_days else "default"
    yield Default("rollout.watch.max_label_age_hours", 24.0 * (LABEL_DAYS + declared.closed_days), pause)
    yield from _cleaning(given)
    longest: float = ROLLOUT_DAYS + days
    yield Default("rollout.judge.max_days", longest, label)
    stated = value_at(given, "rollout.judge.max_days")
    if isinstance(stated, int | float) and not isinstance(stated, bool):
        longest = stated
    yield Default("rollout.deadline_hours", 24 * (longest + SPARE_DAYS), "from rollout.judge.max_days")


def _cleaning(given: Given) -> Iterator[Default]:
    """Families that accept missing values get them unfilled, unless the file says how to fill them."""
    columns = value_at(given, "cleaning.columns")
    filled_columns = {
        name: {"missing": rule["missing"]}
        for name, rule in (columns.items() if isinstance(columns, Mapping) else ())
        if isinstance(rule, Mapping) and rule.get("missing")
    }
    if value_at(given, "cleaning.missing") is None:
        for family in sorted(READS_MISSING):
            as_they_are = {"missing": {"strategy": "none"}, "columns": filled_columns}
            yield Default(f"cleaning.families.{family}", as_they_are, "it reads missing values")
            yield Default(f"cleaning.families.{family}.missing", as_they_are["missing"], "it reads missing values")


def value_at(given: Given, key: str) -> Any:
    """The value at a dotted key; None where there is none."""
    value: Any = given
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def filled(given: Given, more: Given) -> JsonObject:
    """A copy of nested mappings with values at dotted keys; a key through a value that is no mapping is ignored."""
    result = dict(given)
    for key, value in more.items():
        first, _, rest = key.partition(".")
        if not rest:
            result[first] = value
        elif isinstance(inner := result.get(first, {}), Mapping) or inner is None:
            result[first] = filled(inner or {}, {rest: value})
    return result


def cron(period: timedelta) -> str:
    """The schedule of a data run after each period; after each day where cron cannot say the length."""
    hours, minutes = period // AN_HOUR, period % AN_HOUR // A_MINUTE
    if period >= A_DAY or (hours and minutes):
        return "0 0 * * *"
    if hours:
        return "0 * * * *" if hours == 1 else f"0 */{hours} * * *"
    return f"*/{minutes} * * * *" if AN_HOUR % period == timedelta(0) else "0 0 * * *"
