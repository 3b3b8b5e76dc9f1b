"""The values in force: what the params file says, what follows from declarations, and what code has by default."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from pipelines.configuration import load
from pipelines.console.command import Answer, Arguments, Command, options
from pipelines.params import params_files

if TYPE_CHECKING:
    from pipelines.context import Context


WIDEST = 72  # of a line, before its comment


def add(parser: argparse.ArgumentParser) -> None:
    options(parser)
    parser.add_argument("section", nargs="?", default="", metavar="KEY", help="a dotted key: only what is below it")


def answer(arguments: Arguments, context: Context) -> Answer:
    """Each value in force, by dotted key, with its origin.

    Raises:
        InvalidInput: if no key begins with the section.
    """
    file = arguments["params"] or params_files(context.settings.params)[0]
    section = arguments["section"]
    origins = load(file).under(section)
    report = {key: {"value": value, "origin": origin} for key, (value, origin) in origins.items()}
    return report, lambda: print("\n".join(lines(origins)))


def lines(origins: dict[str, tuple[Any, str]]) -> list[str]:
    """YAML with the origins as comments: a params file of these lines has the same values in force."""
    result: list[tuple[str, str]] = []
    before: list[str] = []
    for key, (value, origin) in origins.items():
        parts = key.split(".")
        shared = next((i for i, (a, b) in enumerate(zip(parts[:-1], before, strict=False)) if a != b), len(before))
        shared = min(shared, len(parts) - 1)
        result += [(f"{'  ' * depth}{parts[depth]}:", "") for depth in range(shared, len(parts) - 1)]
        indent, before = "  " * (len(parts) - 1), parts[:-1]
        if isinstance(value, list) and any(isinstance(one, dict) for one in value):
            result.append((f"{indent}{parts[-1]}:", origin))
            result += [(f"{indent}  - {json.dumps(one)}", "") for one in value]
        else:
            result.append((f"{indent}{parts[-1]}: {json.dumps(value)}", origin))
    width = min(WIDEST, max(len(text) for text, origin in result if origin))
    return [f"{text:{width}}  # {origin}" if origin else text for text, origin in result]


COMMAND = Command("params", "Print every value in force, and where it comes from.", add, answer)
