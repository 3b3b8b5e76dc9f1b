"""What may happen to a rollout as things stand, and the changes of plans and aliases that its steps share."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pipelines.clock import instant_of
from pipelines.records import CHAMPION, PREVIOUS, Plan, Rollout

if TYPE_CHECKING:
    from pipelines.context import Context


def obstacle(rollout: Rollout, context: Context) -> str | None:
    """Why the rollout may not go on: it has ended, another plan is in force, or the champion is no longer the one."""
    if rollout.ended is not None:
        return f"the rollout has ended: {rollout.ended.action}"
    plan = context.plans.current()
    if plan is not None and plan.challenger is not None and plan.rollout != rollout.name:
        return f"rollout {plan.rollout} is in force"
    if plan is not None and plan.champion != rollout.champion:
        return f"the champion is version {plan.champion}, not {rollout.champion or 'none'} that it was judged against"
    named = context.models.aliases().get(CHAMPION)
    if named is not None and named not in (rollout.champion, rollout.version if rollout.direct else None):
        return (
            f"alias {CHAMPION} points to version {named}, not {rollout.champion or 'none'} that it was judged against"
        )
    return None


def note(context: Context, alias: str, version: str, actor: str, why: str = "") -> int | None:
    """Note where an alias points ("" for nowhere), in the records and the ledger; the number of the change, if any.

    A replay that has not begun has no time yet: then it is this machine's.
    """
    at = instant_of(context.clock, datetime.now(UTC))
    return context.aliases.note(alias, version, actor, at, why)


def keep_previous(context: Context, version: str | None, why: str) -> None:
    """Set alias `previous` to the version that had the traffic before, where there is one."""
    if version is not None:
        context.models.set_alias(PREVIOUS, version)
        note(context, PREVIOUS, version, "deployment", why)


def put_in_force(context: Context, seen: Plan) -> bool:
    """Put a plan in force by compare-and-set, after the one whose version it carries; false if another was faster."""
    return context.plans.replace(replace(seen, version=seen.version + 1))
