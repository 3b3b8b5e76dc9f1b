"""End a rollout: promote, roll back, abort, or inconclusive. The first ending is final; a retry completes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipelines.errors import CheckFailed
from pipelines.steps import StepModel

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.records import Ending, Rollout


class Inputs(StepModel):
    rollout: str = Field(min_length=1, description="name of the rollout")
    action: Literal["promote", "rollback", "abort", "inconclusive"] = Field(description="how it ends")
    reason: str = Field(min_length=1, description="why, for the ledger")
    decision_id: str | None = Field(None, description="the judge's recorded decision, where there is one")
    actor: str = Field("deployment", min_length=1, max_length=64, description="who or what ends it")


class Outputs(StepModel):
    rollout: str
    action: str = Field(description="how it ended, where an earlier ending is final; none where it never began")
    reason: str
    champion: str | None = Field(description="version that the plan in force names")


def run(inputs: Inputs, context: Context) -> Outputs:
    rollout = context.rollouts.get(inputs.rollout)
    if rollout is None:
        plan = context.plans.current()
        champion = plan.champion if plan else None
        return Outputs(rollout=inputs.rollout, action="none", reason="it never began", champion=champion)
    if rollout.ending is None:
        context.rollouts.end(rollout, *_ending(inputs, rollout, context))
        rollout = context.rollouts.require(inputs.rollout)
    assert rollout.ending is not None
    _settle(rollout, context)
    plan = context.plans.current()
    champion = plan.champion if plan else None
    ending = rollout.ending
    return Outputs(rollout=rollout.name, action=ending.action, reason=ending.reason, champion=champion)


def _ending(inputs: Inputs, rollout: Rollout, context: Context) -> tuple[Ending, dict[str, object]]:
    """How the rollout ends, and the evidence for it.

    A promotion becomes an abort if the champion has changed since the judgement.

    Raises:
        CheckFailed: if the decision is not of this rollout or does not promote it, or the version's artifact is gone
            or altered.
    """
    from pipelines.deployment import state
    from pipelines.deployment.override import require_loads
    from pipelines.records import Action, DecisionKind, Ending

    action, reason = Action(inputs.action), inputs.reason
    evidence: dict[str, object] = {"decision_id": inputs.decision_id}
    if inputs.decision_id is not None:
        decision = context.decisions.get(inputs.decision_id)
        subject = (decision or {}).get("evidence", {}).get("subject", {})
        if decision is None or decision["kind"] != DecisionKind.ROLLOUT or subject.get("rollout") != rollout.name:
            raise CheckFailed(f"decision {inputs.decision_id!r} does not judge rollout {rollout.name}; judge it first")
        if action is Action.PROMOTE and decision["verdict"] != "PROMOTE":
            raise CheckFailed(
                f"decision {inputs.decision_id} is {decision['verdict']}, not PROMOTE; nothing is promoted"
            )
        evidence["judgement"] = decision["evidence"].get("judgement")
    if action is Action.PROMOTE and (obstacle := state.obstacle(rollout, context)) is not None:
        action, reason = Action.ABORT, f"not promoted: {obstacle}"
    if action is Action.PROMOTE:
        require_loads(context, rollout.version)
    return Ending(action, context.clock.now(), inputs.actor, reason, inputs.decision_id), evidence


def _settle(rollout: Rollout, context: Context) -> None:
    """Bring plan, aliases and the version's page in line with the recorded ending; later changes stay."""
    from pipelines.deployment import state
    from pipelines.deployment.override import retire
    from pipelines.records import CHAMPION, Action

    assert rollout.ending is not None
    is_promotion = rollout.ending.action is Action.PROMOTE
    _settle_plan(rollout, context, is_promotion)
    plan = context.plans.current()
    if is_promotion and plan is not None and (plan.rollout, plan.champion) == (rollout.name, rollout.version):
        _move_aliases(rollout, context)
    if rollout.direct and not is_promotion and plan is None:  # it never served, so it cannot be a champion
        context.models.drop_alias(CHAMPION, rollout.version)
        if CHAMPION not in context.models.aliases():
            state.note(context, CHAMPION, "", "deployment", f"rollout {rollout.name} was its first")
    retire(context, rollout)
    verdict = {
        "rollout.verdict": rollout.ending.action,
        "rollout.reason": rollout.ending.reason,
        "rollout.name": rollout.name,
        "rollout.at": rollout.ending.at.isoformat(),
        "rollout.decision_id": rollout.ending.decision_id or "",
        **_told(rollout, context),
    }
    context.models.annotate(rollout.version, verdict)


def _told(rollout: Rollout, context: Context) -> dict[str, str]:
    """The judge's last decision in three lines: rule, evidence, and what to do next; empty where nothing was judged."""
    from pipelines.records import Action

    assert rollout.ending is not None
    decision = context.decisions.get(rollout.ending.decision_id) if rollout.ending.decision_id else None
    judgement = decision["evidence"].get("judgement") if decision else None
    if decision is None or judgement is None:
        return dict.fromkeys(("rollout.rule", "rollout.evidence", "rollout.next"), "")

    def number(value: float | None) -> str:
        return "unknown" if value is None else f"{value:+.5f}"

    said = decision["evidence"].get("conclusion") or judgement
    seen, bound = said["observed"], said["bound"]
    sides = "" if seen is None else f", observed {seen:.5g}, bound {bound:.5g}"
    low, high = judgement["bounds"]
    return {
        "rollout.rule": f"{said['rule'].replace('_', ' ')}{sides}",
        "rollout.evidence": (
            f"{judgement['blocks']} blocks of {judgement['rows']} labelled requests; the challenger's loss less the "
            f"champion's is {number(judgement.get('mean'))}, surely between {number(low)} and {number(high)}; up to "
            f"{number(judgement.get('margin'))} may be given up"
        ),
        "rollout.next": rollout.ending.reason if rollout.ending.action is Action.ABORT else said["next_step"],
    }


def _settle_plan(rollout: Rollout, context: Context, is_promotion: bool) -> None:
    """Put a plan of one version in force: the challenger if it was promoted, else the champion. Later plans stay."""
    from pipelines.deployment import state
    from pipelines.records import Plan

    baseline = rollout.baseline
    while True:
        plan = context.plans.current()
        is_settled = any(not mine.stage for mine in context.plans.of(rollout.name))
        running = plan is not None and plan.rollout == rollout.name
        is_unstaged = plan is None or (plan.champion == rollout.champion and plan.challenger is None)
        if is_settled or not (running or (is_promotion and is_unstaged)):
            return
        version, model = rollout.version if is_promotion else str(rollout.champion), baseline.model_of(is_promotion)
        last_version = plan.version if plan else 0
        if state.put_in_force(context, Plan.alone(last_version, rollout.name, version, model, context.clock.now())):
            return


def _move_aliases(rollout: Rollout, context: Context) -> None:
    """Set `champion` to the version and `previous` to its predecessor, unless a person has set `champion` since."""
    from pipelines.deployment.state import keep_previous, note
    from pipelines.records import CHAMPION

    if context.models.aliases().get(CHAMPION) not in (None, rollout.champion, rollout.version):
        return
    why = f"rollout {rollout.name} was promoted"
    keep_previous(context, rollout.champion, why)
    context.models.set_alias(CHAMPION, rollout.version)
    note(context, CHAMPION, rollout.version, "deployment", why)
    if (last := context.aliases.last(CHAMPION)) and last[1] == rollout.version:
        context.aliases.claim(CHAMPION, last[0], rollout.name)
