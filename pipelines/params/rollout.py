"""`rollout` of params.yaml: the ramp, the conditions under which a look holds, and the judge's rules."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from pipelines.params.section import Count, Level, Natural, Positive, Section, Share


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


Ramp = Annotated[tuple[Stage, ...], Field(min_length=1), AfterValidator(_rising)]


class Preflight(Section):
    sample: Count
    tolerance: Positive
    max_p95_ms: Positive


class WatchRules(Section):
    """Limits that make a look hold, or roll back, without statistics."""

    constant_after: Annotated[int, Field(ge=2)]
    max_unscored_share: Share
    min_labelled_share: Share
    max_label_age_hours: Positive
    max_mean_shift: Positive
    max_missing_rise: Share  # of the share of requests that lack an input, over that of training
    slow_tolerance_ms: Annotated[float, Field(ge=0)]


class Weights(Section):
    """The split of alpha over the parts of the evidence for a rollback."""

    quality: Level
    catastrophe: Level
    errors: Level
    slow: Level

    @model_validator(mode="after")
    def _split(self) -> Self:
        if (total := math.fsum(self.model_dump().values())) > 1 + 1e-9:
            raise ValueError(f"weights add up to {total:g}; at most 1 keeps the rate of false rollbacks below alpha")
        return self


class JudgeRules(Section):
    """The judge's thresholds; `pipelines.judge.Rules` adds the stages. DAGs read this, so it needs no numpy."""

    alpha: Level
    weights: Weights
    margin_share: Level  # delta: the loss that a challenger may add, as a share of the champion's
    catastrophe_share: Positive  # of the champion's loss: what rows may add on average before it is a catastrophe
    segment_share: Positive  # of the champion's loss: what a challenger may add in one declared slice
    segment_alpha: Level  # over all slices
    error_objective: Level
    slow_margin: Annotated[float, Field(gt=1)]  # ratio of slow requests that must not be reached
    split_alpha: Level
    split_strength: Positive
    min_pairs: Count
    min_positives: Natural  # 0 where labels are no classes
    min_blocks: Natural  # 0 where rows are blocks
    max_days: Positive  # after which the rollout ends as inconclusive


class RolloutRules(Section):
    stages: Ramp
    preflight: Preflight
    watch: WatchRules
    judge: JudgeRules
    poll_seconds: Positive
    look_every: Count
    deadline_hours: Positive

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(stage.name for stage in self.stages)
