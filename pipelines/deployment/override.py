"""An alias `champion` that was set by hand: a forced promotion, in force at once if the version loads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.deployment import state
from pipelines.errors import CheckFailed, FlightdeckError
from pipelines.records import BY_HAND, CHALLENGER, CHAMPION, Action, Ending, Entry, Plan, Rollout

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.tracking import ModelVersion


def honour(context: Context) -> tuple[bool, str]:
    """Put the version that alias `champion` names in force; returns whether the plan changed, and why.

    Raises:
        CheckFailed: if that version cannot be loaded. The plan stays, and the ledger has an entry about it.
    """
    aliases, plan = context.models.aliases(), context.plans.current()
    number = aliases.get(CHAMPION)
    if number is None:
        serving = f"version {plan.champion} stays" if plan else "nothing is"
        return False, f"there is no alias {CHAMPION}; {serving} in force"
    if plan is None and aliases.get(CHALLENGER) == number:
        return False, f"version {number} is the challenger too: its first rollout puts it in force"
    if plan is None and (other := context.rollouts.under_way()) and other.direct and other.version == number:
        return False, f"rollout {other.name} is about to put version {number} in force"
    state.note(context, CHAMPION, number, BY_HAND)
    last = context.aliases.last(CHAMPION)
    change = last[0] if last and last[1] == number else 0
    rollout = f"champion-{change}"
    if plan is not None and plan.champion == number and plan.rollout != rollout:
        context.aliases.claim(CHAMPION, change, plan.rollout)
        return False, f"version {number} is in force already"
    key = f"{rollout}:{Action.FORCED_PROMOTION}"
    if context.ledger.has(key) or not context.aliases.claim(CHAMPION, change, rollout):
        return False, f"change {change} of alias {CHAMPION} was handled before"
    version = _loads_or_is_refused(context, number, change)
    reason = f"alias {CHAMPION} was set to version {number} by hand"
    if plan is None:
        reason = f"alias {CHAMPION} names version {number}, and nothing was in force"
    previous = context.ledger.last_promoted()
    if other := context.rollouts.under_way():
        context.rollouts.end(other, Ending(Action.ABORT, context.clock.now(), BY_HAND, reason))
    while plan is None or plan.champion != number:
        current, now = plan.version if plan else 0, context.clock.now()
        state.put_in_force(context, Plan.alone(current, rollout, number, version.model, now))
        plan = context.plans.current()
    state.keep_previous(context, previous, reason)
    for one in context.rollouts.all():  # including one that an earlier attempt has ended
        if one.ending is not None and (one.ending.actor, one.ending.reason) == (BY_HAND, reason):
            retire(context, one)
    context.ledger.enter(_entry(context, key, Action.FORCED_PROMOTION, number, previous, reason))
    return True, reason


def retire(context: Context, rollout: Rollout) -> None:
    """Remove alias `challenger` from a version whose rollout has ended, unless it has been set again since."""
    if context.aliases.last(CHALLENGER) == (rollout.change, rollout.version):
        context.models.drop_alias(CHALLENGER, rollout.version)
        if CHALLENGER not in context.models.aliases():
            state.note(context, CHALLENGER, "", "deployment", f"rollout {rollout.name} has ended")


def require_loads(context: Context, version: str) -> ModelVersion:
    """A version, after a check that its model loads and is the one that was registered.

    Raises:
        CheckFailed: if it does not load, or is another.
    """
    from pipelines.artifacts.scorer import load_scorer
    from pipelines.tracking.integrity import require_intact

    model = context.models.resolve(version=version)
    if model is None:
        raise CheckFailed(f"version {version} is not of the chain; set the alias to one that is")
    try:
        require_intact(context.data.store, context.tracker, model)
        _ = load_scorer(context.data.store, model.model, threads=1).session
    except FlightdeckError as error:
        raise CheckFailed(f"version {version} cannot serve: {error}") from error
    return model


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
