"""`rollout` of params.yaml: the ramp, what holds a look, and the judge's rules."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from pipelines.params.section import Count, Level, Positive, Section, Share


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
    promotion_bets: Annotated[tuple[Level, ...], Field(min_length=1)] | None = None
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
