"""The commands besides the steps: one module for each subject, with its `COMMAND`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipelines.console import check, clock, code, data, explain, features, models, params, quarantine, rollout, writers
from pipelines.console.command import Arguments, Command

if TYPE_CHECKING:
    from pipelines.context import Context

COMMANDS: Mapping[str, Command] = {
    module.COMMAND.name: module.COMMAND
    for module in (rollout, models, data, features, quarantine, clock, explain, writers, params, check, code)
}


def add_commands(commands: Any) -> None:
    """Add every command beside the steps."""
    for command in COMMANDS.values():
        command.add(commands.add_parser(command.name, help=command.summary, description=command.summary))


def answer(arguments: Arguments, context: Context) -> None:
    """Run a command, and print its answer.

    Raises:
        InvalidInput: if it cannot be run, naming what is possible.
    """
    report, show = COMMANDS[arguments["step"]].answer(arguments, context)
    if arguments["json"]:
        print(json.dumps(report, indent=2, default=str))
    else:
        show()
