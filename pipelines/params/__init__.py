"""The typed, frozen content of params.yaml. An unknown key, a wrong type or a missing file is an `InvalidInput`."""

from __future__ import annotations

import os
import re
from datetime import date
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from pipelines.errors import InvalidInput
from pipelines.params.behaviour import Behaviours
from pipelines.params.cleaning import CleaningRules
from pipelines.params.costs import Costs
from pipelines.params.features import Features
from pipelines.params.gates import GateRules, Retraining
from pipelines.params.reading import read_yaml
from pipelines.params.rollout import RolloutRules
from pipelines.params.section import Count, Natural, Section, Share
from pipelines.params.serving import Serving
from pipelines.params.source import Bundled, Source
from pipelines.params.training import Training
from pipelines.redaction import SECRET_NAME

Clock = Literal["wall", "replay"]
Text = Annotated[str, Field(min_length=1)]
PASSWORD = re.compile(r"://\S*@")  # a possible password in an address
RESAMPLES = 40  # with fewer, no resample lies beyond an end of a 95 % interval


class Desk(Section):
    """The windows of `dvc repro`."""

    start: date
    end: date
    as_of: date
    monitor_start: date
    monitor_end: date

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for start, end in (("start", "end"), ("monitor_start", "monitor_end")):
            if getattr(self, end) <= getattr(self, start):
                raise ValueError(
                    f"{end} is {getattr(self, end)}, not after {start} {getattr(self, start)}; ends are exclusive"
                )
        if not self.start < self.as_of <= self.end:
            raise ValueError(f"as_of {self.as_of} must lie after start {self.start} and not after end {self.end}")
        return self


class Schedules(Section):
    data: str
    training: str
    monitoring: str


class Validation(Section):
    max_quarantine_share: Share
    quarantine_floor_rows: Annotated[int, Field(ge=0)] = 5


class Splits(Section):
    train_days: Count
    validation_days: Count
    test_days: Count
    embargo_days: Natural


class Importance(Section):
    """Permutation importance: the number of rows sampled from the test window, and of shuffles of each input."""

    rows: Count = 5000
    repeats: Count = 3


class EvaluationRules(Section):
    calibration_bins: Count
    bootstrap: Annotated[int, Field(ge=RESAMPLES)]
    min_slice: Count
    importance: Importance = Importance()


class ModelCardText(Section):
    """Plain text for the card of every registered version."""

    purpose: Text
    limits: Text
    ethics: Text
    owner: Text


class Monitoring(Section):
    min_labelled: Count
    drift_sample: Count
    retrain_when_failing: Annotated[tuple[Retraining, ...], Field(min_length=1)]


class Params(Section):
    """One use case's params.yaml."""

    usecase: str
    clock: Clock = "wall"
    source: Source = Bundled()
    sources: dict[str, Source] = Field({})  # of single tables, in place of `source`
    desk: Desk
    schedules: Schedules
    validation: Validation
    features: Features
    splits: Splits
    cleaning: CleaningRules
    training: Training
    costs: Costs = Costs()
    evaluation: EvaluationRules
    behaviour: Behaviours = ()
    gate: GateRules
    model_card: ModelCardText
    monitoring: Monitoring
    rollout: RolloutRules
    serving: Serving = Serving()

    @model_validator(mode="after")
    def _in_time(self) -> Self:
        days, hours = self.rollout.judge.max_days, self.rollout.deadline_hours
        if self.clock == "wall" and hours < 24 * days:
            raise ValueError(f"rollout.deadline_hours is {hours:g}, which ends rollouts before their {days:g} max_days")
        return self


def load_params(path: str | Path) -> Params:
    """Read and validate one params file.

    Raises:
        InvalidInput: one line with file, key, value and remedy.
    """
    raw = read_yaml(path)
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        raise InvalidInput(f"{path}: {first_problem(error)}") from None


def first_problem(error: ValidationError) -> str:
    """The first problem, as `key: what (got value)`, and the number of further ones."""
    problems = sorted(error.errors(), key=lambda one: one["type"] != "extra_forbidden")  # likely the cause
    first = problems[0]
    where = ".".join(str(part) for part in first["loc"]) or "(top)"
    what = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        what = "unknown key; remove it or correct its spelling"
    value = PASSWORD.sub("://...@", repr(first["input"])) if not SECRET_NAME.search(where.upper()) else "not shown"
    suffix = "" if first["type"] in ("missing", "value_error") else f" (got {value})"
    more = f"; and {len(problems) - 1} more" if len(problems) > 1 else ""
    return f"{where}: {what}{suffix}{more}"


def params_files(setting: str) -> list[Path]:
    """The params files that FLIGHTDECK_PARAMS names, one per use case.

    Raises:
        InvalidInput: if it names none.
    """
    files = [Path(part) for part in setting.split(os.pathsep) if part]
    if not files:
        raise InvalidInput(f"FLIGHTDECK_PARAMS={setting!r} names no params file; name one, or unset it")
    return files
