"""Aliases that people set, move or remove in MLflow: noted once, and told once to whoever watches."""

from __future__ import annotations

from time import sleep
from typing import TYPE_CHECKING

from pipelines.deployment import state
from pipelines.records import BY_HAND

if TYPE_CHECKING:
    from pipelines.context import Context

GRACE = 3.0  # seconds for the chain to note an alias that it has set itself; then it was a person


def differing(context: Context) -> dict[str, str]:
    """Aliases of which MLflow and the records disagree, and the version ("" for none) that each names in MLflow.

    Whoever changed them did not tell the chain, or not yet.
    """
    noted, there = context.aliases.all(), context.models.aliases()
    return {a: there.get(a, "") for a in sorted({*noted, *there}) if there.get(a, "") != noted.get(a, "")}


def unnoted(alias: str, context: Context) -> str | None:
    """As `differing` of one alias, None where there is no difference; cheap enough to ask every second."""
    version, last = context.models.aliases().get(alias, ""), context.aliases.last(alias)
    return version if version != (last[1] if last else "") else None


def note_by_hand(context: Context) -> dict[str, str]:
    """Note every alias that a person has set, moved or removed; what was noted now, as `differing` tells it."""
    seen = differing(context)
    if not seen:
        return {}
    sleep(GRACE)
    stays = {alias: version for alias, version in differing(context).items() if seen.get(alias) == version}
    return {a: version for a, version in stays.items() if state.note(context, a, version, BY_HAND) is not None}


def alias_news(alias: str, context: Context) -> dict[str, object] | None:
    """Note the change of an alias that a person made, unless somebody has, and tell it as `untold_news` does."""
    version = context.models.aliases().get(alias, "")
    if version or context.aliases.last(alias) is not None:
        state.note(context, alias, version, BY_HAND)
    return untold_news(alias, context)


def untold_news(alias: str, context: Context, again: bool = False) -> dict[str, object] | None:
    """The last change of an alias, where a person made it and nothing has begun for it; told to one of all who ask.

    A removal is no news: the same version set again afterwards is.

    Args:
        again: also what was told before: whoever heard it may have died before anything came of it.
    """
    told = context.aliases.tell(alias, BY_HAND, again)
    return {"alias": alias, "version": told[1], "change": told[0]} if told else None
