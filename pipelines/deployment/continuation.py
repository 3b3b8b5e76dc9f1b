"""What a step of a rollout says of how the rollout goes on."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipelines.steps import StepModel

Ending = Literal["promote", "rollback", "abort", "keep"]


class Continuation(StepModel):
    """How a rollout goes on. The first that no stage follows says how it ends."""

    next_stage: bool = Field(description="whether the next stage of the ramp follows")
    ending: Ending | None = Field(description="how the rollout ends; none where it does not, or not yet")
    reason: str
    decision_id: str | None = Field(description="the judge's recorded decision; none where nothing was judged")
