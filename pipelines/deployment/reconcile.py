"""Honour an alias `champion` that was set by hand: the plan follows it, and a rollout under way is aborted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from pipelines.steps import StepModel

if TYPE_CHECKING:
    from pipelines.context import Context


class Inputs(StepModel):
    pass


class Outputs(StepModel):
    changed: bool
    why: str
    champion: str | None = Field(description="version that the plan in force names")


def run(inputs: Inputs, context: Context) -> Outputs:
    from pipelines.deployment.override import honour, note_others

    others = note_others(context)
    changed, why = honour(context)
    if others:
        why = f"{why}; set or removed by hand: {', '.join(others)}"
    plan = context.records.rollouts(context.usecase.name).plan()
    return Outputs(changed=changed, why=why, champion=plan.champion if plan else None)
