"""What would fail, or never pass, before anything runs: the constraints of params and declarations, and dvc.yaml."""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.console.command import Answer, Arguments, Command, options
from pipelines.constraints import CONSTRAINTS, Violation, violations
from pipelines.errors import CheckFailed
from pipelines.params import Params
from pipelines.params.reading import read_yaml

if TYPE_CHECKING:
    from pipelines.context import Context

DVC_FILE = Path("dvc.yaml")
DVC = "dvc-yaml-names-params"
OF_THE_SOURCE = ("usecase", "source", "sources")  # of no step but ingest: the others read what it has written


def add(parser: argparse.ArgumentParser) -> None:
    options(parser)


def answer(arguments: Arguments, context: Context) -> Answer:
    """Every constraint with what violates it.

    Raises:
        CheckFailed: if any is violated, after all have been shown.
    """
    found = violations(context.params, context.usecase)
    names = {name: (constraint.__doc__ or "").partition("\n")[0] for name, constraint in CONSTRAINTS.items()}
    if DVC_FILE.is_file():
        names[DVC] = "Every stage of dvc.yaml depends on the params that its step reads."
        found += [Violation(DVC, message) for message in lacking(DVC_FILE)]
    report = [
        {"constraint": name, "means": means, "violations": [one.message for one in found if one.constraint == name]}
        for name, means in names.items()
    ]

    def show() -> None:
        for one in report:
            print(f"{'no' if one['violations'] else 'ok':3} {one['constraint']:24} {one['means']}")
            for message in one["violations"]:
                print(f"    {message}")

    if found:
        show() if not arguments["json"] else print(json.dumps(report, indent=2))
        raise CheckFailed(f"{len(found)} of what must hold before a run does not; see above")
    return report, show


def lacking(file: Path) -> Iterator[str]:
    """For each stage of a dvc.yaml that runs a step: the params that it reads and does not name."""
    from pipelines.reach import attributes, reach
    from pipelines.steps import STEPS

    stages = read_yaml(file).get("stages") or {}
    for name, step in STEPS.items():
        stage = stages.get(name)
        if stage is None:
            continue
        named = set(_named(stage.get("do", stage).get("params", ())))
        modules = reach([step.module], without=("pipelines.context",))
        read = {_known(chain) for chain in attributes(modules, "params")} - {"", *OF_THE_SOURCE}
        for key in sorted(read | set(OF_THE_SOURCE if name == "ingest" else ())):
            if not any(_covers(one, key) for one in named):
                yield f"stage {name} reads {key} without naming it, so that a change would not run it; name it there"


def _named(params: object) -> Iterator[str]:
    """The keys of a stage's `params`, whichever file they are of."""
    for one in params if isinstance(params, list) else ():
        if isinstance(one, dict):
            yield from itertools.chain.from_iterable(one.values())
        else:
            yield str(one)


def _covers(named: str, key: str) -> bool:
    """Whether a key is named, or lies in a section that is, or is a section of which parts are."""
    return f"{key}.".startswith(f"{named}.") or named.startswith(f"{key}.")


def _known(chain: tuple[str, ...]) -> str:
    """The part of a chain of attributes that is a dotted key of the params."""
    model, parts = Params, []
    for part in chain:
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            break
        parts.append(part)
        model = field.annotation
    return ".".join(parts)


COMMAND = Command(
    "check", "Check params, declarations and dvc.yaml against each other, before anything runs.", add, answer
)
