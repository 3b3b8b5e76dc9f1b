"""What a command of the console is."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.context import Context

Arguments = Mapping[str, Any]  # of a command line, by name
Answer = tuple[Any, Callable[[], None]]  # JSON-able, and what prints it for a person


@dataclass(frozen=True)
class Command:
    """A command beside the steps.

    Attributes:
        add: declares its arguments; each parser that ends a command line takes `options` too.
        answer: does what the parsed arguments ask. Heavy imports stay inside it.
    """

    name: str
    summary: str
    add: Callable[[argparse.ArgumentParser], None]
    answer: Callable[[Arguments, Context], Answer]


def verbs(parser: argparse.ArgumentParser) -> Callable[[str, str], argparse.ArgumentParser]:
    """Adds a verb by name and summary, with a parser of its own; a command line names one."""
    added = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    def verb(name: str, summary: str) -> argparse.ArgumentParser:
        made = added.add_parser(name, help=summary, description=summary)
        options(made)
        return made

    return verb


def options(parser: argparse.ArgumentParser) -> None:
    """The options that every command takes."""
    parser.add_argument("--params", metavar="FILE", help="params file (default: FLIGHTDECK_PARAMS or params.yaml)")
    parser.add_argument("--home", metavar="DIR", help="where runs write (default: FLIGHTDECK_HOME or var)")
    parser.add_argument("--json", action="store_true", help="JSON instead of tables")
