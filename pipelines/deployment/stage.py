"""Put the next stage of a rollout in force, unless the champion has changed since the rollout began."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import Field

from pipelines.errors import CheckFailed, InvalidInput
from pipelines.steps import StepModel

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.records import Entry, Plan, Rollout


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
    from pipelines.records import Plan

    names = context.params.rollout.names
    rollout = context.rollouts.require(inputs.rollout)
    baseline = rollout.baseline
    if inputs.stage not in names:
        raise InvalidInput(
            f"stage {inputs.stage!r} is not one of {', '.join(names)}; see rollout.stages in params.yaml"
        )
    if rollout.champion is None:
        raise InvalidInput(f"rollout {rollout.name} has no champion to compare with; it goes straight to promotion")
    stage = context.params.rollout.stages[names.index(inputs.stage)]
    while True:
        if (why := state.obstacle(rollout, context)) is not None:
            return Outputs(in_force=False, why=why, plan=None, share=None)
        plan, plans = context.plans.current(), {plan.stage: plan for plan in context.plans.of(rollout.name)}
        if before := plans.get(
            inputs.stage
        ):  # a retry; the first attempt may have been killed before it wrote to the ledger
            assert plan is not None
            context.ledger.enter(_advance(rollout, before))
            return Outputs(in_force=True, why=f"stage {plan.stage} is in force", plan=plan.version, share=plan.share)
        if list(names[: names.index(inputs.stage)]) != list(plans):
            raise CheckFailed(
                f"stage {inputs.stage} is not next: {rollout.name} has been through {', '.join(plans) or 'none'}"
            )
        new = Plan(
            version=plan.version if plan else 0,
            rollout=rollout.name,
            stage=stage.name,
            champion=rollout.champion,
            champion_uri=str(baseline.champion_uri),
            champion_sha256=str(baseline.champion_sha256),
            challenger=rollout.version,
            challenger_uri=baseline.challenger_uri,
            challenger_sha256=baseline.challenger_sha256,
            share=stage.share,
            since=context.clock.now(),
        )
        if state.put_in_force(context, new):
            break
    new = replace(new, version=new.version + 1)
    context.ledger.enter(_advance(rollout, new))
    return Outputs(in_force=True, why=f"stage {stage.name} is in force", plan=new.version, share=stage.share)


def _advance(rollout: Rollout, plan: Plan) -> Entry:
    from pipelines.records import Action, Entry

    return Entry(
        key=f"{rollout.name}:stage:{plan.stage}",
        at=plan.since,
        actor="deployment",
        action=Action.ADVANCE,
        version=rollout.version,
        previous=rollout.champion,
        share=plan.share,
        reason=f"stage {plan.stage}",
        evidence={"plan": plan.version},
    )
