"""The registered versions and the promotion ledger."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipelines.console import table
from pipelines.console.command import Answer, Command, options

if TYPE_CHECKING:
    from pipelines.context import Context

SHOWN = {"sha256": 12, "as_of": 10}  # characters in a table


def add(parser: argparse.ArgumentParser) -> None:
    options(parser)
    parser.add_argument("verb", choices=("list", "ledger"))


def answer(arguments: Mapping[str, Any], context: Context) -> Answer:
    return versions(context) if arguments["verb"] == "list" else ledger(context)


def versions(context: Context) -> Answer:
    """Every registered version, with its aliases and the verdict on it."""
    fields = ("family", "as_of", "sha256", "rollout.verdict")
    found: list[dict[str, Any]] = [
        {"version": one.version, "aliases": list(one.aliases), **{field: one.tags.get(field, "") for field in fields}}
        for one in context.models.versions()
    ]
    heads = ("version", "aliases", "family", "as of", "sha256", "rollout")
    rows = [
        [one["version"], ", ".join(one["aliases"]), *(str(one[field])[: SHOWN.get(field)] for field in fields)]
        for one in found
    ]
    return found, lambda: table.show(heads, rows, f"versions of {context.usecase.name}")


def ledger(context: Context) -> Answer:
    """Every entry of the promotion ledger."""
    entries = context.records.rollouts(context.usecase.name).ledger()
    rows = [
        (f"{e.at:%Y-%m-%d %H:%M}", e.actor, e.action, f"{e.previous or '-'} → {e.version}", f"{e.share:.0%}", why)
        for e in entries
        for why in [e.reason.partition("; ")[0]]
    ]
    heads = ("at", "who", "action", "versions", "share", "why")
    return [vars(entry) for entry in entries], lambda: table.show(heads, rows, f"ledger of {context.usecase.name}")


COMMAND = Command("models", "List the registered versions, or the promotion ledger.", add, answer)
