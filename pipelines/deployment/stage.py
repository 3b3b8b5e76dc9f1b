"""Put the next stage of a rollout in force, unless the champion is no longer the one that it is judged against."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from pipelines.errors import CheckFailed, InvalidInput
from pipelines.steps import StepModel

if TYPE_CHECKING:
    from pipelines.context import Context


class Inputs(StepModel):
    rollout: str = Field(min_length=1, description="name of the rollout")
    stage: str = Field(min_length=1, description="a stage of params.yaml: shadow, or the challenger's share in percent")


class Outputs(StepModel):
    in_force: bool = Field(description="false: the rollout is to be aborted")
    why: str
    plan: int | None
    share: float | None


def run(inputs: Inputs, context: Context) -> Outputs:
    from pipelines.deployment import state
    from pipelines.records import Entry, Plan

    rollouts, names = context.records.rollouts(context.usecase.name), context.params.rollout.names
    rollout = state.require(rollouts, inputs.rollout)
    if inputs.stage not in names:
        raise InvalidInput(f"stage {inputs.stage!r} is none of {', '.join(names)}; see rollout.stages in params.yaml")
    if rollout.champion is None:
        raise InvalidInput(f"rollout {rollout.name} has no champion to compare with; it goes straight to promotion")
    stage = context.params.rollout.stages[names.index(inputs.stage)]
    while True:
        if (why := state.obstacle(rollout, context)) is not None:
            return Outputs(in_force=False, why=why, plan=None, share=None)
        plan, done = rollouts.plan(), [plan.stage for plan in rollouts.plans(rollout.name)]
        if inputs.stage in done:
            assert plan is not None
            return Outputs(in_force=True, why=f"stage {plan.stage} is in force", plan=plan.version, share=plan.share)
        if list(names[: names.index(inputs.stage)]) != done:
            raise CheckFailed(
                f"stage {inputs.stage} is not next: {rollout.name} has been through {', '.join(done) or 'none'}"
            )
        made = Plan(
            version=plan.version if plan else 0,
            rollout=rollout.name,
            stage=stage.name,
            champion=rollout.champion,
            champion_uri=str(rollout.facts["champion_uri"]),
            challenger=rollout.version,
            challenger_uri=str(rollout.facts["challenger_uri"]),
            share=stage.share,
            since=context.clock.now(),
        )
        if state.put_in_force(rollouts, made):
            break
    rollouts.enter(
        Entry(
            key=state.key(rollout.name, state.STAGE, stage.name),
            at=made.since,
            actor="deployment",
            action="advance",
            version=rollout.version,
            previous=rollout.champion,
            share=stage.share,
            reason=f"stage {stage.name}",
            evidence={"plan": made.version + 1},
        )
    )
    return Outputs(in_force=True, why=f"stage {stage.name} is in force", plan=made.version + 1, share=stage.share)
