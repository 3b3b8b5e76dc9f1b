"""Checks before anything runs: the constraints between params and declarations, and dvc.yaml."""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.console.command import Answer, Arguments, Command, options
from pipelines.constraints import CONSTRAINTS, Violation, violations
from pipelines.declare.base import Base
from pipelines.errors import CheckFailed, InvalidInput
from pipelines.params import Params
from pipelines.params.reading import read_yaml
from pipelines.periods import name_of
from pipelines.usecase import UseCase, calendar_of
from pipelines.windows import Window

if TYPE_CHECKING:
    from pipelines.context import Context

DVC_FILE = Path("dvc.yaml")
DVC = "dvc-yaml-names-params"
WHERE = "where-is-a-condition"
BUILDS = "declared-tables-build"
OF_THE_SOURCE = ("usecase", "source", "sources")  # read by ingest only: other steps read what it has written


def add(parser: argparse.ArgumentParser) -> None:
    options(parser)
    parser.add_argument("--contract", action="store_true", help="ask the use case's code, on its validated data")
    parser.add_argument(
        "--start", metavar="DAY", help="with --contract: first day (default: of the last 14 with labels)"
    )
    parser.add_argument("--end", metavar="DAY", help="with --contract: the day after the last")
    parser.add_argument(
        "--seed", metavar="N", type=int, default=1, help="with --contract: of what is drawn (default: 1)"
    )


def answer(arguments: Arguments, context: Context) -> Answer:
    """Every constraint with what violates it; with --contract the checks of the use case's contract.

    Raises:
        CheckFailed: if any is violated, after all have been shown.
    """
    if arguments["contract"]:
        return _contract(arguments, context)
    if arguments["start"] is not None or arguments["end"] is not None:
        raise InvalidInput("--start and --end are days of the use case's data; give --contract too")
    found = violations(context.params, context.usecase)
    names = {name: (constraint.__doc__ or "").partition("\n")[0] for name, constraint in CONSTRAINTS.items()}
    names[WHERE] = "Every `where` of a source is a condition on the declared columns of its table."
    found += [Violation(WHERE, message) for message in no_conditions(context.params, context.usecase)]
    names[BUILDS] = "Every declared view, and the query of the examples, can be run on the declared columns."
    found += [Violation(BUILDS, message) for message in unbuildable(context.usecase)]
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


def no_conditions(params: Params, usecase: UseCase) -> Iterator[str]:
    """Each `where` of a source that DuckDB refuses on the declared types of its table, and why."""
    import pyarrow as pa

    from pipelines.sources.opening import settings_of
    from pipelines.sources.partitioning import stored_types
    from pipelines.sources.shaping import matching

    for table in usecase.tables:
        if where := getattr(settings_of(params, table), "where", ""):
            try:
                types = stored_types(table, calendar_of(usecase))
                matching(pa.schema([*types.items()]).empty_table(), where, table)
            except InvalidInput as error:
                yield str(error)


def unbuildable(usecase: UseCase) -> Iterator[str]:
    """Each declared view, and examples declared in SQL, that fail on tables without rows."""
    import pyarrow as pa

    from pipelines.declare import Coded, Declared
    from pipelines.declare.tables import feature_rows
    from pipelines.sources.partitioning import stored_types

    calendar = calendar_of(usecase)
    empty = {one.name: pa.schema([*stored_types(one, calendar).items()]).empty_table() for one in usecase.tables}
    first = calendar.first_of(usecase.start)
    window = Window(first, calendar.after(first), calendar.timezone, calendar.length)
    views = [one for one in usecase.feature_tables if isinstance(one, Declared) and not isinstance(one, Coded)]
    builds = [partial(feature_rows, usecase, view, empty, window) for view in views]
    builds += [partial(usecase.examples, empty, window)] if isinstance(usecase, Base) else []
    for build in builds:
        try:
            build()
        except InvalidInput as error:
            yield str(error)


def _contract(arguments: Arguments, context: Context) -> Answer:
    """The answer of every check of the contract, on validated tables.

    Raises:
        CheckFailed: if one does not hold, after all have been shown.
        MissingData: if nothing is validated.
    """
    from dataclasses import asdict

    from pipelines.contract.checks import CHECKS, ask
    from pipelines.contract.subject import read_subject

    subject = read_subject(context, arguments["start"], arguments["end"], arguments["seed"])
    answers = [ask(name, subject) for name in CHECKS]
    report = {
        "usecase": context.usecase.name,
        "window": [name_of(subject.window.start), name_of(subject.window.end)],
        "seed": subject.seed,
        "checks": [{**asdict(one), "mark": one.mark} for one in answers],
    }

    def show() -> None:
        print(f"{context.usecase.name}, {subject.window}")
        for one in answers:
            print(f"{one.mark:3} {one.check:24} {one.means}")
            for message in (*one.findings, *one.notes, *([one.skipped] if one.skipped else ())):
                print(f"    {message}")

    if broken := [one.check for one in answers if one.findings]:
        show() if not arguments["json"] else print(json.dumps(report, indent=2))
        raise CheckFailed(f"the contract of {context.usecase.name} does not hold: {', '.join(broken)}; see above")
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
    """The keys of a stage's `params`, in any file."""
    for one in params if isinstance(params, list) else ():
        if isinstance(one, dict):
            yield from itertools.chain.from_iterable(one.values())
        else:
            yield str(one)


def _covers(named: str, key: str) -> bool:
    """Whether a key, a section around it, or a part of it is named."""
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
    "check",
    "Check params, declarations and dvc.yaml against each other, or a use case's code on its data.",
    add,
    answer,
)
