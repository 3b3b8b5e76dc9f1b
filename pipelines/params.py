"""Typed, frozen view of params.yaml. An unknown key, a wrong type or a missing file is an `InvalidInput`."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipelines.errors import InvalidInput
from pipelines.verdict import Gate

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Level = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(Section):
    path: str | None = None


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


class Features(Section):
    service: str
    parity_sample: Count


class Splits(Section):
    train_days: Count
    validation_days: Count
    test_days: Count
    embargo_days: Annotated[int, Field(ge=0)]


class Range(Section):
    """A search range: uniform, or log-uniform, over [low, high]."""

    low: float
    high: float
    log: bool = False
    integer: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.high <= self.low or (self.log and self.low <= 0):
            raise ValueError("needs low < high, and low > 0 where log is true")
        return self


class HistGradientBoosting(Section):
    learning_rate: Annotated[float, Field(gt=0)]
    max_iter: Count
    max_leaf_nodes: Annotated[int, Field(ge=2)]
    min_samples_leaf: Count
    l2_regularization: Annotated[float, Field(ge=0)]
    search: dict[str, Range] = {}


class Mlp(Section):
    hidden: tuple[Count, ...]
    embedding_dim: Count
    dropout: Annotated[float, Field(ge=0, lt=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)]
    batch_size: Count
    epochs: Count
    patience: Count
    search: dict[str, Range] = {}


class Training(Section):
    families: Annotated[tuple[str, ...], Field(min_length=1)]
    trials: Count
    seed: int
    hist_gradient_boosting: HistGradientBoosting
    mlp: Mlp

    @model_validator(mode="after")
    def _known(self) -> Self:
        for family in self.families:
            self.check_family(family)
        for family in FAMILIES:
            settings = getattr(self, family)
            unknown = set(settings.search) - (set(type(settings).model_fields) - {"search"})
            if unknown:
                raise ValueError(f"{family}.search names {sorted(unknown)}, which {family} does not have")
        return self

    @staticmethod
    def check_family(family: str) -> str:
        if family not in FAMILIES:
            raise ValueError(f"family {family!r} is unknown; choose from {', '.join(FAMILIES)}")
        return family


FAMILIES = ("hist_gradient_boosting", "mlp")


class Evaluation(Section):
    calibration_bins: Count
    bootstrap: Count
    min_slice: Count


class GateRules(Section):
    floors: Annotated[tuple[Gate, ...], Field(min_length=1)]
    against_champion: Annotated[tuple[Gate, ...], Field(min_length=1)]


class Monitoring(Section):
    min_labelled: Count
    drift_sample: Count
    retrain_when_failing: Annotated[tuple[Gate, ...], Field(min_length=1)]


class Stage(Section):
    """A stage of the ramp and what it must have seen before the next; see `pipelines.judge` for the meanings."""

    share: Share
    min_hours: Annotated[float, Field(ge=0)]
    min_requests: Annotated[int, Field(ge=0)]
    min_blocks: Annotated[int, Field(ge=0)]
    min_pairs: Annotated[int, Field(ge=0)]

    @property
    def name(self) -> str:
        return f"{100 * self.share:g}" if self.share else "shadow"


class Preflight(Section):
    sample: Count
    tolerance: Positive
    max_p95_ms: Positive


class Watch(Section):
    """What makes a look hold, or go back, without statistics."""

    constant_after: Annotated[int, Field(ge=2)]
    max_unscored_share: Share
    min_labelled_share: Share
    max_label_age_hours: Positive
    max_mean_shift: Positive
    slow_tolerance_ms: Annotated[float, Field(ge=0)]


class Weights(Section):
    quality: Level
    catastrophe: Level
    errors: Level
    slow: Level


class JudgeRules(Section):
    """`pipelines.judge.Rules` without the stages. It stands here since that module needs numpy, and DAGs read this."""

    alpha: Level
    weights: Weights
    clip_range: Positive
    rollback_range: Positive | None = None
    bets: Annotated[tuple[Level, ...], Field(min_length=1)] | None = None
    margin_share: Level
    catastrophe_margin: Level
    error_objective: Level
    slow_margin: Annotated[float, Field(gt=1)]
    split_alpha: Level
    split_strength: Positive
    min_pairs: Count
    min_positives: Count
    min_blocks: Annotated[int, Field(ge=0)]
    max_days: Positive


class Rollout(Section):
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    preflight: Preflight
    watch: Watch
    judge: JudgeRules
    poll_seconds: Positive
    look_every: Count
    deadline_hours: Positive

    @model_validator(mode="after")
    def _ramp(self) -> Self:
        shares = [stage.share for stage in self.stages]
        if shares != sorted(set(shares)):
            raise ValueError(f"shares of the stages are {shares}; each must be larger than the one before")
        if not shares[-1]:
            raise ValueError("a ramp of shadow alone would promote what never served; add a stage with a share")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(stage.name for stage in self.stages)


class Params(Section):
    """One use case's params.yaml."""

    usecase: str
    source: Source = Source()
    desk: Desk
    schedules: Schedules
    validation: Validation
    features: Features
    splits: Splits
    training: Training
    evaluation: Evaluation
    gate: GateRules
    monitoring: Monitoring
    rollout: Rollout


def load_params(path: str | Path) -> Params:
    """Read and check one params file.

    Raises:
        InvalidInput: one line naming file, key, value and remedy.
    """
    file = Path(path)
    try:
        raw: Any = yaml.safe_load(file.read_text())
    except FileNotFoundError:
        raise InvalidInput(f"{file} does not exist; name the params file with --params or FLIGHTDECK_PARAMS") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidInput(f"{file} cannot be read as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise InvalidInput(
            f"{file} holds {type(raw).__name__}, not keys and values; see the params.yaml of the project"
        )
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        raise InvalidInput(f"{file}: {first_problem(error)}") from None


def first_problem(error: ValidationError) -> str:
    """The first thing wrong, as `key: what (got value)`, and how many more there are."""
    found = sorted(error.errors(), key=lambda one: one["type"] != "extra_forbidden")  # a misspelt key explains the rest
    first = found[0]
    where = ".".join(str(part) for part in first["loc"]) or "(top)"
    what = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        what = "unknown key; remove it or correct its spelling"
    got = "" if first["type"] in ("missing", "value_error") else f" (got {first['input']!r})"
    more = f"; and {len(found) - 1} more" if len(found) > 1 else ""
    return f"{where}: {what}{got}{more}"


def params_files(setting: str) -> list[Path]:
    """The params files named by FLIGHTDECK_PARAMS, one per use case."""
    return [Path(part) for part in setting.split(os.pathsep) if part]
