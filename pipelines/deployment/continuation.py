"""The part of a step's outputs that says how a rollout continues."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipelines.steps import StepModel

Ending = Literal["promote", "rollback", "abort", "inconclusive"]


class Continuation(StepModel):
    """How a rollout continues. The first step after which no stage follows says how the rollout ends."""

    next_stage: bool = Field(description="whether the next stage of the ramp follows")
    ending: Ending | None = Field(description="how the rollout ends; none where it does not end here")
    reason: str
    decision_id: str | None = Field(description="the judge's recorded decision; none where nothing was judged")
