"""Whether a rollout may go on, and the changes of plans and aliases that its steps share."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pipelines.clock import instant_of
from pipelines.records import CHAMPION, PREVIOUS, Plan, Rollout

if TYPE_CHECKING:
    from pipelines.context import Context


def obstacle(rollout: Rollout, context: Context) -> str | None:
    """Why the rollout may not go on: it has ended, another plan is in force, or the champion has changed."""
    if rollout.ending is not None:
        return f"the rollout has ended: {rollout.ending.action}"
    plan = context.plans.current()
    if plan is not None and plan.challenger is not None and plan.rollout != rollout.name:
        return f"rollout {plan.rollout} is in force"
    if plan is not None and plan.champion != rollout.champion:
        return f"the champion is version {plan.champion}, not {rollout.champion or 'none'}, its champion at the start"
    alias_version = context.models.aliases().get(CHAMPION)
    if alias_version is not None and alias_version not in (
        rollout.champion,
        rollout.version if rollout.direct else None,
    ):
        champion = rollout.champion or "none"
        return f"alias {CHAMPION} points to version {alias_version}, not {champion}, its champion at the start"
    return None


def note(context: Context, alias: str, version: str, actor: str, why: str = "") -> int | None:
    """Record where an alias points ("" for nowhere), with an entry in the ledger; the number of the change, if any.

    A replay that has not begun has no time yet; then the time of this machine is used.
    """
    at = instant_of(context.clock, datetime.now(UTC))
    return context.aliases.note(alias, version, actor, at, why)


def keep_previous(context: Context, version: str | None, why: str) -> None:
    """Set alias `previous` to the version that had the traffic before, where there is one."""
    if version is not None:
        context.models.set_alias(PREVIOUS, version)
        note(context, PREVIOUS, version, "deployment", why)


def put_in_force(context: Context, plan: Plan) -> bool:
    """Put a plan in force by compare-and-set, if `plan.version` is the current version; false if another was faster."""
    return context.plans.replace(replace(plan, version=plan.version + 1))
