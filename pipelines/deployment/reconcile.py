"""Record aliases that were changed by hand, and put the new champion in force, which aborts a rollout."""

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
    noted: dict[str, str] = Field(description="aliases entered into the ledger, and their versions (empty: none)")


def run(inputs: Inputs, context: Context) -> Outputs:
    from pipelines.deployment.aliases import note_by_hand
    from pipelines.deployment.override import honour

    changes = note_by_hand(context)
    changed, why = honour(context)
    if changes:
        why = f"{why}; set or removed by hand: {', '.join(changes)}"
    plan = context.plans.current()
    return Outputs(changed=changed, why=why, champion=plan.champion if plan else None, noted=changes)
