"""The dependencies of the stages of dvc.yaml besides data: params in force, code, declarations, the source's files."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.console.command import Answer, Arguments, Command, options
from pipelines.json_text import JsonObject

if TYPE_CHECKING:
    from pipelines.context import Context

VALUES = "values.json"
DECLARED = "pipelines.offline.repository"  # reads the Feast declarations


def add(parser: argparse.ArgumentParser) -> None:
    options(parser)
    parser.add_argument("--out", metavar="DIR", required=True, help="folder for the files: values.json, and one a step")


def answer(arguments: Arguments, context: Context) -> Answer:
    """Write the params in force, and one file for each step of the desk, which changes with anything it can reach."""
    from pipelines.steps import STEPS

    out = Path(arguments["out"])
    out.mkdir(parents=True, exist_ok=True)
    (out / VALUES).write_text(json.dumps(context.params.model_dump(mode="json"), indent=2) + "\n")
    digests = {}
    for step in (one for one in STEPS.values() if one.desk):
        text = json.dumps(grounds(step.name, context), indent=2) + "\n"
        (out / f"{step.name}.json").write_text(text)
        digests[step.name] = hashlib.sha256(text.encode()).hexdigest()
    return digests, lambda: print(f"what {len(digests)} steps rest on is in {out}")


def grounds(step: str, context: Context) -> JsonObject:
    """What a step depends on: sha256 of modules and declarations by name; for `ingest`, also the source's files."""
    from pipelines.reach import reach
    from pipelines.steps import STEPS

    digests: JsonObject = {"code": reach([STEPS[step].module, "pipelines.context", context.params.usecase])}
    if DECLARED in digests["code"]:
        repo = context.usecase.feature_repo  # where there is none, declarations are code of the use case
        digests["declarations"] = _digests(repo.glob("*.py") if repo else ())
    if step == "ingest":
        digests |= _source(context)
    return digests


def _source(context: Context) -> JsonObject:
    """What `ingest` reads, as far as it lies in files.

    Returns:
        `source`: by table, each file of the desk's days, with its size and time of change; `bundled`, where a table
        comes with the use case: the digests of the use case's own files. A database or an API is left out, since a
        change there cannot be detected before reading.
    """
    from pipelines.params.source import Bundled, Files
    from pipelines.sources.files import FileSource
    from pipelines.sources.opening import BundledSource, settings_of

    desk = context.params.require_desk()
    window = context.window(desk.start, desk.end)
    sections = {table: settings_of(context.params, table) for table in context.usecase.tables}
    files: JsonObject = {
        table.name: FileSource(section, context.usecase.timezone).versions(table, window)
        for table, section in sections.items()
        if isinstance(section, Files)
    }
    if any(isinstance(section, Bundled) for section in sections.values()):
        return {"source": files, "bundled": _digests(BundledSource(context.usecase).files)}
    return {"source": files}


def _digests(files: Iterable[Path]) -> list[tuple[str, str]]:
    """(name, sha256) of each file, in order; names without folders, which differ between machines."""
    return sorted((file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for file in files)


COMMAND = Command("code", "Write what the stages of dvc.yaml depend on besides data.", add, answer)
