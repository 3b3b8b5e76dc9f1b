"""The type of the console's commands, and their common options."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.context import Context

Arguments = Mapping[str, Any]  # of a command line, by name
Answer = tuple[Any, Callable[[], None]]  # the answer (JSON-able), and a function that prints it for a person


@dataclass(frozen=True)
class Command:
    """A command beside the steps.

    Attributes:
        add: declares its arguments; each parser that ends a command line takes `options` too.
        answer: runs the command with its parsed arguments. Heavy imports stay inside it.
    """

    name: str
    summary: str
    add: Callable[[argparse.ArgumentParser], None]
    answer: Callable[[Arguments, Context], Answer]


def verbs(parser: argparse.ArgumentParser) -> Callable[[str, str], argparse.ArgumentParser]:
    """A function that adds a verb by name and summary, and gives its parser; a command line names one verb."""
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    def verb(name: str, summary: str) -> argparse.ArgumentParser:
        command = subparsers.add_parser(name, help=summary, description=summary)
        options(command)
        return command

    return verb


def options(parser: argparse.ArgumentParser) -> None:
    """The options that every command takes."""
    parser.add_argument("--params", metavar="FILE", help="params file (default: FLIGHTDECK_PARAMS or params.yaml)")
    parser.add_argument("--home", metavar="DIR", help="where runs write (default: FLIGHTDECK_HOME or var)")
    parser.add_argument("--json", action="store_true", help="JSON instead of tables")
