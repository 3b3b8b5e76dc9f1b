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
from pipelines.params.gates import RETRAIN_WHEN, GateRules, Retraining
from pipelines.params.rollout import RolloutRules
from pipelines.params.section import A_CENTURY, Count, Days, Section, Share
from pipelines.params.serving import Serving
from pipelines.params.source import Bundled, Source
from pipelines.params.training import Training
from pipelines.redaction import SECRET_NAME

Clock = Literal["wall", "replay"]
Text = Annotated[str, Field(min_length=1)]
PASSWORD = re.compile(r"://\S*@")  # a possible password in an address
NOT_STATED = "Not stated."
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
    """Cron expressions in the use case's time zone; a change reaches Airflow when it parses the DAGs again."""

    data: str
    training: str = "0 6 * * 1"
    monitoring: str = "0 12 * * 1"


class Validation(Section):
    """More bad rows than `max_quarantine_share` of a partition stop a run, but never so few as the floor."""

    max_quarantine_share: Share = 0.02
    quarantine_floor_rows: Annotated[int, Field(ge=0)] = 5


class Splits(Section):
    """Windows in local days, counted back from `as_of`; the training window has `train_days` at most."""

    train_days: Days = 365
    validation_days: Days
    test_days: Days
    embargo_days: Annotated[int, Field(ge=0, le=A_CENTURY)]


class Importance(Section):
    """Permutation importance: the number of rows sampled from the test window, and of shuffles of each input."""

    rows: Count = 5000
    repeats: Count = 3


class EvaluationRules(Section):
    """`bootstrap` is the number of resamples of whole blocks; slices of fewer rows than `min_slice` are not ranked.

    The gate holds where labelled test rows lie in fewer blocks (days by default) than `min_blocks`: resamples of few
    blocks tell no interval.
    """

    calibration_bins: Count = 10
    min_blocks: Count = 5
    bootstrap: Annotated[int, Field(ge=RESAMPLES)] = 200
    min_slice: Count = 100
    importance: Importance = Importance()


class ModelCardText(Section):
    """Plain text for the card of every registered version."""

    purpose: Text = NOT_STATED
    limits: Text = NOT_STATED
    ethics: Text = NOT_STATED
    owner: Text = NOT_STATED


class Monitoring(Section):
    """What a monitoring run looks at.

    Attributes:
        lag_days: local days by which the window of a run lies before its interval, so that its labels have matured.
        drift_sample: most rows a side of the drift report.
        retrain_when_failing: any of these gates that fails asks for retraining.
    """

    lag_days: Annotated[int, Field(ge=0, le=A_CENTURY)]
    min_labelled: Count = 100
    drift_sample: Count = 20_000
    retrain_when_failing: Annotated[tuple[Retraining, ...], Field(min_length=1)] = RETRAIN_WHEN


class Params(Section):
    """One use case's params.yaml."""

    usecase: str
    clock: Clock = "wall"
    source: Source = Bundled()
    sources: dict[str, Source] = Field({})  # of single tables, in place of `source`
    desk: Desk | None = None
    schedules: Schedules
    validation: Validation = Validation()
    features: Features
    splits: Splits
    cleaning: CleaningRules = CleaningRules()
    training: Training = Training()
    costs: Costs = Costs()
    evaluation: EvaluationRules = EvaluationRules()
    behaviour: Behaviours = ()
    gate: GateRules = GateRules()
    model_card: ModelCardText = ModelCardText()
    monitoring: Monitoring
    rollout: RolloutRules
    serving: Serving = Serving()

    def require_desk(self) -> Desk:
        """The windows of `dvc repro`.

        Raises:
            InvalidInput: if there are none.
        """
        if self.desk is None:
            raise InvalidInput("desk: needed for `dvc repro`; give start, end, as_of, monitor_start and monitor_end")
        return self.desk

    @model_validator(mode="after")
    def _in_time(self) -> Self:
        days, hours = self.rollout.judge.max_days, self.rollout.deadline_hours
        if self.clock == "wall" and hours < 24 * days:
            raise ValueError(f"rollout.deadline_hours is {hours:g}, which ends rollouts before their {days:g} max_days")
        return self


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
