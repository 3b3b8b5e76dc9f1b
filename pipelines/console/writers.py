"""`flightdeck writers`: who writes the prediction log, and how far each has come."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pipelines.console import table
from pipelines.console.command import Answer, Arguments, Command, verbs
from pipelines.errors import InvalidInput

if TYPE_CHECKING:
    from pipelines.context import Context


def add(parser: argparse.ArgumentParser) -> None:
    verb = verbs(parser)
    verb("list", "Show the model servers that write the prediction log, and how far each has come.")
    ending = verb("end", "Declare that a writer has gone for good: the judge waits for it no longer.")
    ending.add_argument("name", metavar="NAME")


def answer(arguments: Arguments, context: Context) -> Answer:
    """The active writers; `end` ends one.

    Raises:
        InvalidInput: if no active writer has the name.
    """
    if arguments["verb"] == "end":
        return end(arguments["name"], context)
    writers = context.writers.active()
    now = context.clock.now() if writers else None  # a replay that has not begun has no time, and no writers
    report = [{**one._asdict(), "behind": now - one.watermark} for one in writers if now]

    def show() -> None:
        rows = [(one["name"], one["watermark"].isoformat(), str(one["behind"])) for one in report] or [("none", "", "")]
        table.show(("writer", "complete until", "behind by"), rows, f"writers of the log of {context.usecase.name}")

    return report, show


def end(name: str, context: Context) -> Answer:
    names = [one.name for one in context.writers.active()]
    if name not in names:
        named = ", ".join(names) or "there is none"
        raise InvalidInput(f"no active writer is named {name!r}; name one of these: {named}")
    context.writers.end(name, context.clock.now())
    return {"ended": name}, lambda: print(f"{name} writes no more; a server that still does becomes a writer again")


COMMAND = Command("writers", "Show who writes the prediction log, or end one that has gone.", add, answer)
