"""Versions of the raw data: list and compare them, restore one, or remove those that are not needed."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.console import table
from pipelines.console.command import Answer, Arguments, Command, verbs
from pipelines.errors import InvalidInput
from pipelines.json_text import JsonObject
from pipelines.periods import name_of
from pipelines.store.layout import REFERENCE

if TYPE_CHECKING:
    from pipelines.context import Context

KEEP = 10


def add(parser: argparse.ArgumentParser) -> None:
    verb = verbs(parser)
    verb("versions", "List the versions, newest last, and the models and runs that need them.")
    history = verb("history", "List what ingestion wrote, partition by partition, oldest first.")
    history.add_argument("--table", metavar="TABLE")
    history.add_argument(
        *("--period", "--day"), metavar="PERIOD", help="a local day or period, or `all` of a reference table"
    )
    history.add_argument("--restated", action="store_true", help="only partitions that were there before")
    diff = verb("diff", "Compare two versions: partitions, rows, columns.")
    diff.add_argument("versions", metavar="VERSION", nargs=2, help="in full, or a beginning that no other has")
    restore = verb("restore", "Restore a version, bit for bit.")
    restore.add_argument("version", metavar="VERSION", nargs="?", help="in full, or a beginning that no other has")
    restore.add_argument("--model", metavar="N", help="the data version of this version of the registered model")
    restore.add_argument("--to", metavar="DIR", required=True, help="a folder that is empty or not there")
    gc = verb("gc", "Remove the versions that no model, no recent snapshot and no undecided training set needs.")
    gc.add_argument("--keep", metavar="N", type=int, default=KEEP, help=f"newest snapshots to keep (default: {KEEP})")
    gc.add_argument("--remote", action="store_true", help="remove from the DVC remote too; no other store may share it")
    gc.add_argument("--dry-run", action="store_true", help="only say what would be removed")


def answer(arguments: Arguments, context: Context) -> Answer:
    if arguments["verb"] == "versions":
        return versions(context)
    if arguments["verb"] == "history":
        return history(arguments["table"], arguments["period"], arguments["restated"], context)
    if arguments["verb"] == "diff":
        return diff(arguments["versions"], context)
    if arguments["verb"] == "restore":
        return restore(arguments["version"], arguments["model"], arguments["to"], context)
    return gc(arguments["keep"], arguments["remote"], arguments["dry_run"], context)


def versions(context: Context) -> Answer:
    """Every stored version, in the order of the snapshots; those that are not in the records come first."""
    from pipelines.ingestion.repository import local_root, versions_in
    from pipelines.ingestion.retention import registered_models, training_sets
    from pipelines.ingestion.versions import short

    files = versions_in(local_root(context))
    snapshots = context.snapshots.taken()
    models, sets = registered_models(context), training_sets(context)
    rows_found: list[JsonObject] = []
    for version in _selectable_versions(context):
        of = [snapshot for snapshot in snapshots if snapshot.version == version]
        ingestion = next((snapshot for snapshot in of if snapshot.start), None)
        runs = [snapshot.run for snapshot in of if snapshot.run] + [run for run in sets if sets[run] == version]
        rows_found.append(
            {
                "version": version,
                "start": ingestion and ingestion.start,
                "end": ingestion and ingestion.end,
                "files": files[version],
                "rows": of[0].rows if of else None,
                "models": [model.version for model in models if model.tags.get("data_version") == version],
                "runs": list(dict.fromkeys(runs)),
            }
        )

    def show() -> None:
        heads = ("version", "from", "to", "files", "rows", "models", "runs")
        rows = [
            (short(one["version"]), *(_cell(one[key]) for key in ("start", "end", "files", "rows", "models", "runs")))
            for one in rows_found
        ]
        table.show(heads, rows, f"data versions of {context.usecase.name}")

    return rows_found, show


def history(name: str | None, period: str | None, restated: bool, context: Context) -> Answer:
    """The partitions that ingestion wrote: rows, and how many were added and removed."""
    names = [raw.name for raw in context.usecase.tables]
    if name is not None and name not in names:
        raise InvalidInput(f"there is no table {name!r}; choose from {', '.join(names)}")
    try:
        of = period if period in (None, REFERENCE) else name_of(context.calendar.require(period))
    except ValueError as error:
        raise InvalidInput(f"{error}, or `{REFERENCE}` for a reference table") from None
    lines = context.partitions.lines(name, of, restated)
    rows_found = [{**vars(line), "as_of": line.as_of.isoformat()} for line in lines]

    def show() -> None:
        heads = ("table", "period", "rows", "added", "removed", "sha256", "ingested up to")
        rows = [
            (
                *(_cell(one[key]) for key in ("table", "period", "rows", "added", "removed")),
                one["sha256"][:12],
                one["as_of"],
            )
            for one in rows_found
        ]
        table.show(heads, rows, f"raw partitions of {context.usecase.name}")

    return rows_found, show


def diff(versions: Sequence[str], context: Context) -> Answer:
    """The differences of two versions, from their trees and the footers of their files."""
    from pipelines.ingestion.comparison import compare
    from pipelines.ingestion.repository import open_repository
    from pipelines.ingestion.versions import resolve, short
    from pipelines.store import at_work

    with at_work(context.data.store):
        with open_repository(context) as repository:
            names = [resolve(text, _selectable_versions(context)) for text in versions]
            before, after = (repository.tree(name) for name in names)
            where = repository.fetch({*before.values(), *after.values()})
        tables = compare(before, after, where)

    def show() -> None:
        heads = ("table", "added", "removed", "changed", "rows", "columns")
        rows = [
            (
                name,
                *(_days(one[key]) for key in ("added", "removed", "changed")),
                f"{one['rows'][0]} → {one['rows'][1]}",
                "; ".join(_columns(one["columns"])) or "the same",
            )
            for name, one in tables.items()
        ]
        table.show(heads, rows, f"{short(names[0])} → {short(names[1])}")

    return {"versions": names, "tables": tables}, show


def restore(version: str | None, model: str | None, to: str, context: Context) -> Answer:
    """Restore a version into a folder."""
    from pipelines.ingestion import restoring
    from pipelines.ingestion.repository import open_repository
    from pipelines.ingestion.versions import resolve
    from pipelines.store import at_work

    if (version is None) == (model is None):
        raise InvalidInput("give a VERSION or --model N, one of the two")
    with at_work(context.data.store):
        with open_repository(context) as repository:
            number = _rests_on(model, context) if model else resolve(version or "", _selectable_versions(context))
            tree = repository.tree(number)
            where = repository.fetch(set(tree.values()))
        restoring.restore(number, tree, where, Path(to))
    report = {"version": number, "to": to, "files": len(tree)}
    return report, lambda: print(f"{number}: {len(tree)} files in {to}")


def gc(keep: int, remote: bool, dry_run: bool, context: Context) -> Answer:
    """Remove the versions that nothing needs; nothing else may run meanwhile."""
    from pipelines.ingestion.collection import collect
    from pipelines.ingestion.repository import open_repository
    from pipelines.ingestion.versions import short
    from pipelines.store import alone

    with alone(context.data.store), open_repository(context) as repository:
        collection = collect(context, repository, keep, remote, dry_run)
    would = "would be " if dry_run else ""

    def show() -> None:
        rows = [(short(version), f"{would}removed", "") for version in collection.unneeded]
        rows += [(short(version), "kept", ", ".join(why)) for version, why in collection.remaining.items()]
        table.show(("version", "", "needed by"), rows, f"data versions of {context.usecase.name}")
        for place, removal in collection.freed.items():
            print(f"{place}: {removal['files']} files {would}removed, {removal['bytes']:,} bytes")

    outcome = {"kept": collection.remaining, "removed": collection.unneeded, "freed": collection.freed}
    return {**outcome, "dry_run": dry_run}, show


def _selectable_versions(context: Context) -> list[str]:
    """The versions that a command may name: those of this use case, and those that no use case has recorded."""
    from pipelines.ingestion.repository import local_root, versions_in

    snapshots = context.snapshots
    order, others = {one.version: number for number, one in enumerate(snapshots.taken())}, snapshots.of_others()
    ours = [version for version in versions_in(local_root(context)) if version in order or version not in others]
    return sorted(ours, key=lambda version: order.get(version, -1))


def _rests_on(model: str, context: Context) -> str:
    """The data version in the lineage of a registered model's version."""
    from pipelines.ingestion.retention import registered_models
    from pipelines.ingestion.versions import is_version

    models = {one.version: one.tags.get("data_version", "") for one in registered_models(context)}
    if model not in models:
        raise InvalidInput(f"--model {model}: registered are {', '.join(models) or 'none'}; name one of them")
    if not is_version(models[model]):
        raise InvalidInput(
            f"--model {model}: its tag data_version is {models[model]!r}, which is not a version of DVC's; correct it"
        )
    return models[model]


def _cell(value: Any) -> str:
    return "" if value is None else ", ".join(value) if isinstance(value, list) else str(value)


def _days(days: Sequence[str]) -> str:
    """One or two days by name, more by number, first and last day."""
    return ", ".join(days) if len(days) < 3 else f"{len(days)}: {days[0]} … {days[-1]}"


def _columns(columns: JsonObject) -> Iterator[str]:
    yield from (f"+ {name} {kind}" for name, kind in columns["added"].items())
    yield from (f"- {name} {kind}" for name, kind in columns["removed"].items())
    yield from (f"{name} {old} → {new}" for name, (old, new) in columns["retyped"].items())


COMMAND = Command("data", "List, compare, restore or remove versions of the raw data.", add, answer)
