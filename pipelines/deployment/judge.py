"""Judge a rollout on matured evidence: ADVANCE, HOLD, PROMOTE, ROLLBACK, KEEP_CHAMPION or ABORT, with the reasons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from pipelines.deployment.continuation import Continuation, Ending
from pipelines.steps import StepModel

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.deployment.evidence import Look
    from pipelines.records import Plan, Rollout

ABORT, KEEP, ROLLBACK, HOLD, ADVANCE = "ABORT", "KEEP_CHAMPION", "ROLLBACK", "HOLD", "ADVANCE"
ENDINGS: dict[str, Ending] = {"PROMOTE": "promote", ROLLBACK: "rollback", KEEP: "keep", ABORT: "abort"}


class Inputs(StepModel):
    rollout: str = Field(min_length=1, description="name of the rollout")
    stage: str = Field(min_length=1, description="the stage that is judged")
    out_of_time: bool = Field(False, description="the wall clock ran out: end the rollout and keep the champion")


class Outputs(Continuation):
    action: str
    rule: str
    observed: float | None
    bound: float | None
    blocks: int
    rows: int
    next_step: str
    pulse: str = Field(description="state of the evidence; another look is due once it has changed")


def run(inputs: Inputs, context: Context) -> Outputs:
    from pipelines.deployment import state
    from pipelines.deployment.evidence import block_means, evidence, paired
    from pipelines.deployment.pulse import pulse
    from pipelines.deployment.rows import read_rows
    from pipelines.judge import Rules, judge_evidence
    from pipelines.records import Decision, DecisionKind

    settings = context.params.rollout
    rollout = context.rollouts.require(inputs.rollout)
    pulse_before = pulse(
        rollout.name, context
    )  # taken before anything is read, so that rows that arrive meanwhile change it
    if (why := state.obstacle(rollout, context)) is not None:
        return _abort(why, pulse_before)
    plans = [plan for plan in context.plans.of(rollout.name) if plan.stage]
    if not plans:
        return _abort(f"rollout {rollout.name} has no stage in force; set one first", pulse_before)
    look = _look(inputs, context, rollout, plans)
    rows = read_rows(context.predictions, [plan.version for plan in plans], look.now)
    look_evidence = evidence(paired(rows, look), look, settings.watch)
    judgement = judge_evidence(look_evidence, Rules(**settings.judge.model_dump(), stages=settings.stages))
    action, rule = str(judgement.action), judgement.rule
    reasons, next_step = list(judgement.explanation), judgement.next_step
    if inputs.out_of_time and action not in (ROLLBACK, KEEP):
        action, rule, next_step = KEEP, "wall_clock", "The wall clock ran out: keep the champion and end the rollout."
        reasons = [f"{action}: {rule}", *reasons[1:]]
    names = settings.names
    if action == HOLD and names.index(look.in_force.stage) > names.index(inputs.stage):
        action, rule, next_step = ADVANCE, "stage_passed", f"Go on: stage {look.in_force.stage} is in force."
        reasons = [f"{action} by {rule}: {next_step}", *reasons[1:]]
    decision_id = context.decisions.record(
        Decision(
            usecase=context.usecase.name,
            kind=DecisionKind.ROLLOUT,
            as_of=look.now,
            verdict=action,
            reasons=tuple(reasons),
            subject={"rollout": rollout.name, "stage": inputs.stage, "out_of_time": inputs.out_of_time},
            evidence={
                "version": rollout.version,
                "champion": rollout.champion,
                "plan": look.in_force.version,
                "pulse": pulse_before,
                "judgement": judgement.model_dump(mode="json"),
                "increments": block_means(look_evidence),
                "requests": len(rows),
                "labelled": int(rows.label.notna().sum()),
                "exposure": vars(look_evidence.exposure),
                "flags": vars(look_evidence.flags),
                "champion_loss": look.champion_loss,
                "split": [vars(count) for count in look_evidence.split],
                "entities": {"challenger": look_evidence.trials, "with_errors": look_evidence.failures},
            },
        )
    )
    return Outputs(
        next_stage=action == ADVANCE,
        ending=ENDINGS.get(action),
        action=action,
        rule=rule,
        observed=judgement.observed,
        bound=judgement.bound,
        blocks=judgement.blocks,
        rows=judgement.rows,
        reason="; ".join(reasons[:3]),
        next_step=next_step,
        decision_id=decision_id,
        pulse=pulse_before,
    )


def _abort(why: str, pulse: str) -> Outputs:
    return Outputs(
        next_stage=False,
        ending="abort",
        action=ABORT,
        rule="obstacle",
        observed=None,
        bound=None,
        blocks=0,
        rows=0,
        reason=why,
        next_step="End the rollout and leave the champion as it is.",
        decision_id=None,
        pulse=pulse,
    )


def _look(inputs: Inputs, context: Context, rollout: Rollout, plans: Sequence[Plan]) -> Look:
    from pipelines.deployment.evidence import Look

    settings = context.params.rollout
    baseline = rollout.baseline
    assert rollout.champion is not None and baseline.champion_loss is not None  # it has had a stage
    return Look(
        now=context.clock.now(),
        began=rollout.began_at,
        champion=rollout.champion,
        challenger=rollout.version,
        plans=plans,
        stage=inputs.stage,
        names=settings.names,
        maturity=context.usecase.maturity,
        timezone=context.usecase.timezone,
        champion_loss=baseline.champion_loss,
        slow_ms=baseline.slow_ms,
        needed=settings.judge.min_pairs,
    )
