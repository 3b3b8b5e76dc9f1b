"""The state of a rollout, read from the records: its first and its last entry in the ledger, and the plan in force."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pipelines.clock import instant_of
from pipelines.errors import InvalidInput
from pipelines.records.ledger import Entry
from pipelines.records.rollouts import CHAMPION, PREVIOUS, Plan, Rollouts

if TYPE_CHECKING:
    from pipelines.context import Context

START, END, STAGE = "start", "end", "stage"  # what a rollout's keys in the ledger end in
PROMOTIONS = ("promote", "forced_promotion")


@dataclass(frozen=True)
class Rollout:
    """A rollout that began.

    Attributes:
        version: the challenger. `champion` is None for the first model of all.
        change: the alias change that it began for.
        facts: what was frozen when it began: champion_loss, slow_ms, where the models lie and their sha256.
        ended: its last entry; None while it is under way.
    """

    name: str
    version: str
    champion: str | None
    change: int
    at: datetime
    facts: dict[str, Any]
    ended: Entry | None

    @property
    def direct(self) -> bool:
        return self.champion is None


def key(rollout: str, what: str, *more: str) -> str:
    return ":".join((rollout, what, *more))


def all_rollouts(ledger: Sequence[Entry]) -> list[Rollout]:
    """Every rollout in the ledger, oldest first."""
    ends = {entry.key: entry for entry in ledger}
    began = [entry for entry in ledger if entry.action == START and entry.key.endswith(f":{START}")]
    return [_rollout(entry, ends.get(key(entry.key.removesuffix(f":{START}"), END))) for entry in began]


def _rollout(entry: Entry, ended: Entry | None) -> Rollout:
    facts = dict(entry.evidence)
    name = entry.key.removesuffix(f":{START}")
    return Rollout(name, entry.version, entry.previous, int(facts["change"]), entry.at, facts, ended)


def find(rollouts: Rollouts, name: str) -> Rollout | None:
    return next((one for one in all_rollouts(rollouts.ledger()) if one.name == name), None)


def require(rollouts: Rollouts, name: str) -> Rollout:
    """Raises InvalidInput where there is no such rollout."""
    found = find(rollouts, name)
    if found is None:
        known = ", ".join(one.name for one in all_rollouts(rollouts.ledger())) or "none"
        raise InvalidInput(f"there is no rollout {name!r}; there are: {known}")
    return found


def under_way(rollouts: Rollouts) -> Rollout | None:
    """The rollout that began and has not ended."""
    return next((one for one in reversed(all_rollouts(rollouts.ledger())) if one.ended is None), None)


def obstacle(rollout: Rollout, context: Context) -> str | None:
    """Why the rollout may not go on: it has ended, another plan is in force, or the champion is no longer the one."""
    if rollout.ended is not None:
        return f"the rollout has ended: {rollout.ended.action}"
    plan = context.records.rollouts(context.usecase.name).plan()
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


def serving(ledger: Sequence[Entry]) -> str | None:
    """The version that was last given all the traffic."""
    return next((entry.version for entry in reversed(ledger) if entry.action in PROMOTIONS), None)


def note(context: Context, alias: str, version: str, actor: str, why: str = "") -> int | None:
    """Note where an alias points ("" for nowhere), in the records and the ledger; the number of the change, if any.

    A replay that has not begun has no time yet: then it is this machine's.
    """
    at = instant_of(context.clock, datetime.now(UTC))
    return context.records.rollouts(context.usecase.name).note_alias(alias, version, actor, at, why)


def keep_previous(context: Context, version: str | None, why: str) -> None:
    """Set alias `previous` to the version that had the traffic before, where there is one."""
    if version is not None:
        context.models.set_alias(PREVIOUS, version)
        note(context, PREVIOUS, version, "deployment", why)


def put_in_force(rollouts: Rollouts, seen: Plan) -> bool:
    """Put a plan in force by compare-and-set, after the one whose version it carries; false if another was faster."""
    return rollouts.replace_plan(replace(seen, version=seen.version + 1))
