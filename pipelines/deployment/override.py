"""An alias `champion` moved by hand: a forced promotion, honoured at once, once the version is known to load."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.deployment import state
from pipelines.errors import CheckFailed, FlightdeckError
from pipelines.records import BY_HAND, CHALLENGER, CHAMPION, Action, Ending, Entry, Plan, Rollout

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.tracking import ModelVersion


def honour(context: Context) -> tuple[bool, str]:
    """Bring the plan in force to the version that alias `champion` names; (whether it changed, why).

    Raises:
        CheckFailed: if that version cannot be loaded. The plan stays, and the ledger says so.
    """
    aliases, plan = context.models.aliases(), context.plans.current()
    named = aliases.get(CHAMPION)
    if named is None:
        serving = f"version {plan.champion} stays" if plan else "nothing is"
        return False, f"there is no alias {CHAMPION}; {serving} in force"
    if plan is None and aliases.get(CHALLENGER) == named:
        return False, f"version {named} challenges too: its first rollout puts it in force"
    if plan is None and (other := context.rollouts.under_way()) and other.direct and other.version == named:
        return False, f"rollout {other.name} is about to put version {named} in force"
    state.note(context, CHAMPION, named, BY_HAND)
    last = context.aliases.last(CHAMPION)
    change = last[0] if last and last[1] == named else 0
    rollout = f"champion-{change}"
    if plan is not None and plan.champion == named and plan.rollout != rollout:
        context.aliases.claim(CHAMPION, change, plan.rollout)
        return False, f"version {named} is in force already"
    done = f"{rollout}:{Action.FORCED_PROMOTION}"
    if context.ledger.has(done) or not context.aliases.claim(CHAMPION, change, rollout):
        return False, f"change {change} of alias {CHAMPION} is no news"
    found = _loads_or_is_refused(context, named, change)
    reason = f"alias {CHAMPION} was set to version {named} by hand"
    if plan is None:
        reason = f"alias {CHAMPION} names version {named}, and nothing was in force"
    previous = context.ledger.last_promoted()
    if other := context.rollouts.under_way():
        context.rollouts.end(other, Ending(Action.ABORT, context.clock.now(), BY_HAND, reason))
    while plan is None or plan.champion != named:
        seen, now = plan.version if plan else 0, context.clock.now()
        state.put_in_force(context, Plan.alone(seen, rollout, named, found.model_uri, found.sha256, now))
        plan = context.plans.current()
    state.keep_previous(context, previous, reason)
    for one in context.rollouts.all():  # also one that an earlier try has ended
        if one.ended is not None and (one.ended.actor, one.ended.reason) == (BY_HAND, reason):
            retire(context, one)
    context.ledger.enter(_entry(context, done, Action.FORCED_PROMOTION, named, previous, reason))
    return True, reason


def retire(context: Context, rollout: Rollout) -> None:
    """Take the challenger alias from a version whose rollout has ended, unless it was set anew since."""
    if context.aliases.last(CHALLENGER) == (rollout.change, rollout.version):
        context.models.drop_alias(CHALLENGER, rollout.version)
        if CHALLENGER not in context.models.aliases():
            state.note(context, CHALLENGER, "", "deployment", f"rollout {rollout.name} has ended")


def require_loads(context: Context, version: str) -> ModelVersion:
    """A version whose model loads and is the one that was registered.

    Raises:
        CheckFailed: if it is not.
    """
    from pipelines.artifacts.scorer import load_scorer
    from pipelines.tracking.integrity import require_intact

    found = context.models.resolve(version=version)
    if found is None:
        raise CheckFailed(f"version {version} is none of the chain")
    try:
        require_intact(context.data.store, context.tracker, found)
        _ = load_scorer(context.data.store, found.model, threads=1).session
    except FlightdeckError as error:
        raise CheckFailed(f"version {version} cannot serve: {error}") from error
    return found


def _loads_or_is_refused(context: Context, version: str, change: int) -> ModelVersion:
    try:
        return require_loads(context, version)
    except CheckFailed as error:
        plan = context.plans.current()
        stays = plan.champion if plan else None
        key = f"champion-{change}:{Action.REFUSED}"
        context.ledger.enter(_entry(context, key, Action.REFUSED, version, stays, str(error)))
        raise CheckFailed(
            f"alias {CHAMPION} was set by hand, but {error}; version {stays or 'none'} stays in force: restore "
            "the artifact, or set the alias back"
        ) from error


def _entry(context: Context, key: str, action: Action, version: str, previous: str | None, reason: str) -> Entry:
    share = 1.0 if action is Action.FORCED_PROMOTION else 0.0
    return Entry(key, context.clock.now(), BY_HAND, action, version, previous, share, reason, {})
