"""Judge a rollout on matured evidence: ADVANCE, HOLD, PROMOTE, ROLLBACK, INCONCLUSIVE or ABORT, with the reasons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pydantic import Field

from pipelines.deployment.continuation import Continuation, Ending
from pipelines.json_text import JsonObject
from pipelines.steps import StepModel

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.deployment.completeness import Completeness
    from pipelines.deployment.counts import RolloutCounts
    from pipelines.deployment.pairing import Look
    from pipelines.judge import Evidence, Judgement
    from pipelines.records import Plan, Rollout

ABORT, INCONCLUSIVE, ROLLBACK, HOLD, ADVANCE = "ABORT", "INCONCLUSIVE", "ROLLBACK", "HOLD", "ADVANCE"
ENDINGS: dict[str, Ending] = {"PROMOTE": "promote", ROLLBACK: "rollback", INCONCLUSIVE: "inconclusive", ABORT: "abort"}


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


class LookConclusion(NamedTuple):
    action: str
    rule: str
    next_step: str
    reasons: tuple[str, ...]
    observed: float | None = None
    bound: float | None = None


def run(inputs: Inputs, context: Context) -> Outputs:
    from pipelines.deployment import settled, state
    from pipelines.deployment.completeness import completeness
    from pipelines.deployment.evidence import evidence
    from pipelines.deployment.pulse import pulse
    from pipelines.judge import Rules, judge_evidence, shortfall

    settings = context.params.rollout
    rollout = context.rollouts.require(inputs.rollout)
    pulse_before = pulse(rollout.name, context)  # before anything is read, so that rows that arrive meanwhile change it
    if (why := state.obstacle(rollout, context)) is not None:
        return _abort(why, pulse_before)
    plans = [plan for plan in context.plans.of(rollout.name) if plan.stage]
    if not plans:
        return _abort(f"rollout {rollout.name} has no stage in force; set one first", pulse_before)
    complete = completeness(context)
    look = _look(context, rollout, plans, inputs.stage, complete)
    reading = settled.read(context, rollout.name, look, complete)
    seen = evidence(reading.seen, look, settings.watch)
    rules = Rules(**settings.judge.model_dump(), stages=settings.stages)
    judgement = judge_evidence(seen, rules)
    conclusion = _conclude(judgement, inputs, look, shortfall(seen, rules) if inputs.out_of_time else "")
    recorded = conclusion._replace(reasons=(*conclusion.reasons, *complete.waits))
    facts = {
        "version": rollout.version,
        "champion": rollout.champion,
        "plan": look.in_force.version,
        "pulse": pulse_before,
        "rules": settings.judge.model_dump(),
        "judgement": judgement.model_dump(mode="json"),
        "conclusion": conclusion._asdict() | {"reasons": None},
        **_facts(reading.seen.counts, seen),
    }
    decision_id = _record(recorded, facts, inputs, look, context)
    settled.keep(reading, context, rollout.name)
    return Outputs(
        next_stage=conclusion.action == ADVANCE,
        ending=ENDINGS.get(conclusion.action),
        action=conclusion.action,
        rule=conclusion.rule,
        observed=conclusion.observed,
        bound=conclusion.bound,
        blocks=judgement.blocks,
        rows=judgement.rows,
        reason="; ".join((*conclusion.reasons[:3], *complete.waits)),
        next_step=conclusion.next_step,
        decision_id=decision_id,
        pulse=pulse_before,
    )


def _conclude(judgement: Judgement, inputs: Inputs, look: Look, lacking: str) -> LookConclusion:
    """The judge's answer, but for a stage whose wall clock ran out, or that another one has replaced."""
    action, reasons = str(judgement.action), judgement.explanation
    sides = (judgement.observed, judgement.bound)
    conclusion = LookConclusion(action, judgement.rule, judgement.next_step, reasons, *sides)
    if inputs.out_of_time and action not in (ROLLBACK, INCONCLUSIVE):
        next_step = f"The wall clock ran out. {lacking}"
        conclusion = LookConclusion(
            INCONCLUSIVE, "wall_clock", next_step, (f"{INCONCLUSIVE}: wall_clock", *reasons[1:])
        )
    if conclusion.action == HOLD and look.names.index(look.in_force.stage) > look.names.index(inputs.stage):
        next_step = f"Go on: stage {look.in_force.stage} is in force."
        conclusion = LookConclusion(
            ADVANCE, "stage_passed", next_step, (f"{ADVANCE} by stage_passed: {next_step}", *reasons[1:])
        )
    return conclusion


def _facts(counts: RolloutCounts, seen: Evidence) -> JsonObject:
    """The evidence of a look as it is recorded."""
    from pipelines.deployment.increments import recorded_increments

    return {
        **recorded_increments(seen.blocks),
        "requests": counts.requests,
        **({"late": counts.late} if counts.late else {}),  # they count in no block
        "labelled": counts.labelled,
        "exposure": vars(seen.exposure),
        "flags": vars(seen.flags),
        "champion_loss": seen.champion_loss,
        "split": [vars(count) for count in seen.split],
        "entities": {"challenger": seen.trials, "with_errors": seen.failures},
    }


def _record(conclusion: LookConclusion, facts: JsonObject, inputs: Inputs, look: Look, context: Context) -> str:
    """Record the decision, and give its id."""
    from pipelines.records import Decision, DecisionKind

    return context.decisions.record(
        Decision(
            usecase=context.usecase.name,
            kind=DecisionKind.ROLLOUT,
            as_of=look.now,
            verdict=conclusion.action,
            reasons=conclusion.reasons,
            subject={"rollout": inputs.rollout, "stage": inputs.stage, "out_of_time": inputs.out_of_time},
            evidence=facts,
        )
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


def _look(context: Context, rollout: Rollout, plans: Sequence[Plan], stage: str, complete: Completeness) -> Look:
    from pipelines.deployment.foretold import Foretold
    from pipelines.deployment.missing import SAMPLE, missing_more_often
    from pipelines.deployment.pairing import Look
    from pipelines.losses import loss_of

    settings = context.params.rollout
    baseline = rollout.baseline
    foretold = Foretold.model_validate(baseline.foretold or {})
    newest = context.predictions.newest(plans[-1].version, complete.known_by, SAMPLE)
    assert rollout.champion is not None and baseline.champion_loss is not None  # it has had a stage
    return Look(
        now=complete.until,
        began=rollout.began_at,
        champion=rollout.champion,
        challenger=rollout.version,
        plans=plans,
        stage=stage,
        names=settings.names,
        maturity=context.usecase.maturity,
        champion_loss=baseline.champion_loss,
        slow_ms=baseline.slow_ms,
        needed=settings.judge.min_pairs,
        loss=loss_of(context.usecase),
        foretold=foretold,
        days=settings.judge.max_days,
        slices=tuple(context.usecase.slices),
        missing_inputs=missing_more_often(newest, foretold.missing, settings.watch.max_missing_rise),
    )
