"""Aliases that people set, move or remove in MLflow: each change is recorded once and reported to one watcher."""

from __future__ import annotations

from time import sleep
from typing import TYPE_CHECKING

from pipelines.deployment import state
from pipelines.records import BY_HAND

if TYPE_CHECKING:
    from pipelines.context import Context

GRACE = 3.0  # seconds in which the chain records an alias that it sets itself; after that a person has set it


def differing(context: Context) -> dict[str, str]:
    """Aliases on which MLflow and the records disagree, and the version ("" for none) that each names in MLflow.

    A person changed them, or the chain has not recorded its own change yet.
    """
    recorded, current = context.aliases.all(), context.models.aliases()
    return {a: current.get(a, "") for a in sorted({*recorded, *current}) if current.get(a, "") != recorded.get(a, "")}


def unrecorded_change(alias: str, context: Context) -> str | None:
    """The version as in `differing` for one alias; None if there is no difference. Cheap enough for every second."""
    version, last = context.models.aliases().get(alias, ""), context.aliases.last(alias)
    return version if version != (last[1] if last else "") else None


def note_by_hand(context: Context) -> dict[str, str]:
    """Record every alias that a person has set, moved or removed, and give the new records as `differing` does."""
    changes = differing(context)
    if not changes:
        return {}
    sleep(GRACE)
    stays = {alias: version for alias, version in differing(context).items() if changes.get(alias) == version}
    return {a: version for a, version in stays.items() if state.note(context, a, version, BY_HAND) is not None}


def alias_news(alias: str, context: Context) -> dict[str, object] | None:
    """Record the change that a person made to an alias, unless it is on record, and give what `pending_news` gives."""
    version = context.models.aliases().get(alias, "")
    if version or context.aliases.last(alias) is not None:
        state.note(context, alias, version, BY_HAND)
    return pending_news(alias, context)


def pending_news(alias: str, context: Context, again: bool = False) -> dict[str, object] | None:
    """The last change of an alias, if a person made it and no rollout has begun for it; of several callers one gets it.

    A removal is not news; setting the same version again afterwards is.

    Args:
        again: give it even if another caller got it before, which may have died before it acted.
    """
    news = context.aliases.tell(alias, BY_HAND, again)
    return {"alias": alias, "version": news[1], "change": news[0]} if news else None
