"""`rollout` of params.yaml: the ramp, the conditions under which a look holds, and the judge's rules."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from pipelines.params.section import A_CENTURY, Count, Level, Natural, Positive, Section, Share


class Stage(Section):
    """One step of the ramp, and what it needs before the next. Share 0 is shadow."""

    share: Share
    min_hours: Annotated[float, Field(ge=0)]
    min_requests: Natural  # assigned to the challenger and answered by it in this stage; in shadow scored by it
    min_blocks: Natural  # closed in this stage
    min_pairs: Natural  # matured since the rollout began

    @property
    def name(self) -> str:
        return f"{100 * self.share:g}" if self.share else "shadow"


def _rising(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    shares = [stage.share for stage in stages]
    if any(later <= earlier for earlier, later in pairwise(shares)):
        raise ValueError(f"shares of the stages are {shares}; each must be larger than the one before")
    if not shares[-1]:
        raise ValueError("a ramp of shadow alone promotes a challenger that never served; add a stage with a share")
    return stages


def _stage(share: float, hours: float, requests: int, blocks: int) -> Stage:
    return Stage(share=share, min_hours=hours, min_requests=requests, min_blocks=blocks, min_pairs=200)


STAGES = (_stage(0, 72, 100, 3), _stage(0.05, 48, 10, 1), _stage(0.25, 48, 50, 1), _stage(0.5, 48, 100, 1))
Ramp = Annotated[tuple[Stage, ...], Field(min_length=1), AfterValidator(_rising)]


class Preflight(Section):
    sample: Count = 200
    tolerance: Positive = 0.00001
    max_p95_ms: Positive = 50


class WatchRules(Section):
    """Limits that make a look hold, or roll back, without statistics."""

    constant_after: Annotated[int, Field(ge=2)] = 100
    max_unscored_share: Share = 0.01
    min_labelled_share: Share = 0.5
    max_label_age_hours: Annotated[float, Field(gt=0, le=24 * A_CENTURY)]
    max_mean_shift: Positive = 0.2
    max_missing_rise: Share = 0.2  # of the share of requests that lack an input, over that of training
    slow_tolerance_ms: Annotated[float, Field(ge=0)] = 5


class Weights(Section):
    """The split of alpha over the parts of the evidence for a rollback."""

    quality: Level = 0.7
    catastrophe: Level = 0.1
    errors: Level = 0.1
    slow: Level = 0.1

    @model_validator(mode="after")
    def _split(self) -> Self:
        if (total := math.fsum(self.model_dump().values())) > 1 + 1e-9:
            raise ValueError(f"weights add up to {total:g}; at most 1 keeps the rate of false rollbacks below alpha")
        return self


class JudgeRules(Section):
    """The judge's thresholds; `pipelines.judge.Rules` adds the stages. DAGs read this, so it needs no numpy."""

    alpha: Level = 0.05
    weights: Weights = Weights()
    margin_share: Level = 0.05  # delta: the loss that a challenger may add, as a share of the champion's
    catastrophe_share: Positive = 0.25  # of that loss: what rows may add on average before it is a catastrophe
    segment_share: Positive = 0.15  # of the champion's loss: what a challenger may add in one declared slice
    segment_alpha: Level = 0.05  # over all slices
    error_objective: Level = 0.02
    slow_margin: Annotated[float, Field(gt=1)] = 1.5  # ratio of slow requests that must not be reached
    split_alpha: Level = 0.001
    split_strength: Positive = 200
    min_pairs: Count = 200
    min_positives: Natural = 20  # 0 where labels are no classes
    min_blocks: Natural = 7  # 0 where rows are blocks
    max_days: Annotated[float, Field(gt=0, le=A_CENTURY)]  # after which the rollout ends as inconclusive


class RolloutRules(Section):
    stages: Ramp = (*STAGES, _stage(1, 24, 100, 1))
    preflight: Preflight = Preflight()
    watch: WatchRules
    judge: JudgeRules
    poll_seconds: Positive = 1
    look_every: Count = 100
    deadline_hours: Positive

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(stage.name for stage in self.stages)
