"""`flightdeck quarantine`: list quarantined rows with their reasons, and release those that are good after all."""

from __future__ import annotations

import argparse
import getpass
from collections import Counter
from collections.abc import Set
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pipelines.console.command import Answer, Arguments, Command, verbs
from pipelines.console.table import show
from pipelines.errors import CheckFailed, InvalidInput
from pipelines.json_text import JsonObject
from pipelines.periods import Period
from pipelines.store.layout import REFERENCE, UNDATED, partition_name

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.context import Context
    from pipelines.derivation.downstream import Downstream
    from pipelines.periods import Calendar
    from pipelines.usecase import RawTable

NAME = "quarantine"
LONG = 60  # characters of a value in a table
MARK = 12  # characters of a row's digest that are shown


def add(parser: argparse.ArgumentParser) -> None:
    verb = verbs(parser)
    listing = verb("list", "Count quarantined rows by table, period and reason.")
    listing.add_argument("--table", metavar="TABLE", help="only this table")
    listing.add_argument(
        *("--period", "--day"),
        metavar="PERIOD",
        help="only this day or period, `undated`, or `all` of reference tables",
    )
    showing = verb("show", "Show a period's quarantined rows.")
    releasing = verb("release", "Declare quarantined rows good.")
    for one in (showing, releasing):
        one.add_argument("table", metavar="TABLE")
        one.add_argument(
            "period",
            metavar="PERIOD",
            help="a day or another period, `undated`, or `all` of a reference table",
        )
    which = releasing.add_mutually_exclusive_group()
    which.add_argument("--reason", metavar="CODE", help="the rows with this reason, for this reason alone")
    which.add_argument("--row", metavar="ROW", help="a row, by its mark in `show` or its key, values joined by commas")
    releasing.add_argument("--why", metavar="TEXT", required=True, help="why they are good, for the record")
    releasing.add_argument("--actor", metavar="NAME", default=None, help="default: the user")


def answer(arguments: Arguments, context: Context) -> Answer:
    """Run the command.

    Raises:
        InvalidInput: if there is no such table, period, reason or row.
        CheckFailed: if the period does not pass with the released rows; the release is recorded nevertheless.
    """
    if arguments["verb"] == "list":
        return list_rows(arguments["table"], arguments["period"], context)
    table, period = _table_of(arguments["table"], context), _period_of(arguments["period"], context)
    if arguments["verb"] == "show":
        return show_rows(table, period, context)
    if isinstance(period, str):
        raise InvalidInput(f"an undated row of {table.name} has no day; give it one at the source, and ingest again")
    if not arguments["why"].strip():
        raise InvalidInput("--why is empty; say why the rows are good, for the record")
    actor = arguments["actor"] or getpass.getuser()
    which = Selection(arguments["reason"], arguments["row"])
    return release_rows(table, period, which, arguments["why"], actor, context)


def list_rows(table: str | None, period: str | None, context: Context) -> Answer:
    """Quarantined rows by table, period and reason."""
    tables = [_table_of(table, context)] if table else list(context.usecase.tables)
    selected = None if period is None else _selected(period, context)
    counts: list[JsonObject] = []
    for one in tables:
        for of in _partitions(one, context):
            if selected is None or of in selected:
                uri = context.data.partition(NAME, one.name, of)
                codes = context.data.store.read_table(uri, ["reason"])["reason"].to_pylist()
                reasons = Counter(code for joined in codes for code in joined.split(","))
                name = partition_name(of)
                counts.append({"table": one.name, "period": name, "rows": len(codes), "reasons": dict(reasons)})
    rows = [
        (one["table"], one["period"], str(one["rows"]), ", ".join(f"{code} {n}" for code, n in one["reasons"].items()))
        for one in counts
    ]
    heads = ("table", "period", "rows", "reasons")
    return counts, lambda: show(heads, rows, f"quarantine of {context.usecase.name}")


def show_rows(table: RawTable, period: Period | str | None, context: Context) -> Answer:
    """A partition's quarantined rows, with their reasons and marks."""
    from pipelines.validation.releases import digests

    rows, codes = _read_rows(table, period, context)
    entries = [
        {"row": mark[:MARK], "reason": code, **row}
        for mark, code, row in zip(digests(rows), codes, rows.to_pylist(), strict=True)
    ]
    cells = [
        (one["row"], one["reason"], ", ".join(f"{n}={_short(v)}" for n, v in list(one.items())[2:] if v is not None))
        for one in entries
    ]
    return entries, lambda: show(
        ("row", "reason", "values"), cells, f"quarantine of {table.name}, {partition_name(period)}"
    )


@dataclass(frozen=True)
class Selection:
    """Which rows of a partition are meant: those with a reason, or one row by its mark."""

    reason: str | None
    row: str | None


def release_rows(
    table: RawTable, period: Period | None, selection: Selection, why: str, actor: str, context: Context
) -> Answer:
    """Record the release, validate the period again, and say what is out of date."""
    from pipelines.derivation.downstream import downstream
    from pipelines.derivation.staleness import stale_features
    from pipelines.records import Release
    from pipelines.steps import execute
    from pipelines.validation.releases import digests, pick_rows

    rows, codes = _read_rows(table, period, context)
    reason = selection.reason
    numbers = pick_rows(rows, table.key, reason, selection.row, codes)
    if not numbers:
        name = partition_name(period)
        wanted = f"reason {reason!r}" if reason else f"row {selection.row!r}"
        have = sorted({code for joined in codes for code in joined.split(",")})
        raise InvalidInput(
            f"{table.name} of {name}: no quarantined row has the {wanted}; reasons are {', '.join(have)}, rows are in "
            f"`flightdeck quarantine show {table.name} {name}`"
        )
    at = datetime.now(UTC)
    releases = [
        Release(table.name, partition_name(period), mark, code, actor, why, at)
        for n, mark in zip(numbers, digests(rows.take(numbers)), strict=True)
        for code in codes[n].split(",")
        if reason is None or code == reason
    ]
    context.releases.add(releases)
    uri, store = context.data.partition("validated", table.name, period), context.data.store
    before = store.read_bytes(uri) if store.exists(uri) else None
    start = period or _some_period(context)
    try:
        execute("validate", {"start": start, "end": context.calendar.after(start)}, context)
    except CheckFailed as error:
        raise CheckFailed(f"the release is recorded, but the validation of {start} did not pass: {error}") from None
    is_changed = store.read_bytes(uri) != before or (period is not None and period in stale_features(context))
    remaining = dict(Counter(_codes(table, period, context)))
    stale = downstream(table.name, period, context) if is_changed else None
    report = {
        "table": table.name,
        "period": partition_name(period),
        "released": len(numbers),
        "still_quarantined": remaining,
        "validated_changed": is_changed,
        "out_of_date": vars(stale) if stale else None,
    }
    return report, lambda: print("\n".join(_describe_release(report, stale, context.calendar)))


def _describe_release(report: JsonObject, stale: Downstream | None, calendar: Calendar) -> list[str]:
    lines = [f"{report['released']} rows of {report['table']} of {report['period']} are released"]
    if report["still_quarantined"]:
        lines.append(
            f"still quarantined there: {', '.join(f'{n} {c}' for c, n in report['still_quarantined'].items())}"
        )
    if stale is None:
        return [*lines, "validated data have not changed: nothing is out of date"]
    for name, span in stale.features.items():
        if span is None:
            lines.append(f"out of date: features/{name}; build the features of any {calendar.noun}")
            continue
        lines.append(f"out of date: features/{name} from {span[0]} to {span[1]}")
        lines.append(f"  flightdeck build_features {calendar.flags(*span)}")
    lines += [f"out of date: training set {name}, and the models trained on it" for name in stale.training_sets]
    if stale.online:
        lines.append("out of date: the online store; when the features are built again")
        lines.append(f"  flightdeck materialize --as-of {stale.online.isoformat()}")
    return lines if len(lines) > 1 else [*lines, "nothing depends on them yet"]


def _table_of(name: str, context: Context) -> RawTable:
    tables = {table.name: table for table in context.usecase.tables}
    if name not in tables:
        raise InvalidInput(f"{context.usecase.name} has no table {name!r}; choose from {', '.join(tables)}")
    return tables[name]


def _period_of(text: str, context: Context) -> Period | str | None:
    """A period, UNDATED, or None for a reference table."""
    if text in (REFERENCE, UNDATED):
        return None if text == REFERENCE else UNDATED
    try:
        return context.calendar.require(text)
    except ValueError as error:
        raise InvalidInput(f"{error}, `{UNDATED}`, or `{REFERENCE}` for a reference table") from None


def _selected(text: str, context: Context) -> Set[Period | str | None]:
    """As `_period_of`, but a day stands for all of its periods."""
    period = _period_of(text, context)
    if not isinstance(period, datetime) or "T" in text:
        return {period}
    return {*context.calendar.of_day(context.calendar.day_of(period))}


def _partitions(table: RawTable, context: Context) -> list[Period | str | None]:
    last = UNDATED if table.daily else None
    there = [last] if context.data.store.exists(context.data.partition(NAME, table.name, last)) else []
    return [*context.data.periods(NAME, table.name), *there]


def _read_rows(table: RawTable, period: Period | str | None, context: Context) -> tuple[pa.Table, list[str]]:
    """The quarantined rows of a partition as ingested, and their reasons.

    Raises:
        InvalidInput: if it has none.
    """
    if period not in _partitions(table, context):
        raise InvalidInput(
            f"{table.name} has no quarantined row on {partition_name(period)}; see `flightdeck quarantine list`"
        )
    rows = context.data.store.read_table(context.data.partition(NAME, table.name, period))
    return rows.drop_columns(["reason"]), rows["reason"].to_pylist()


def _codes(table: RawTable, period: Period | None, context: Context) -> list[str]:
    return _read_rows(table, period, context)[1] if period in _partitions(table, context) else []


def _some_period(context: Context) -> Period:
    """A period to validate a reference table with, since every window validates it."""
    for table in context.usecase.tables:
        if table.daily and (periods := context.data.periods("validated", table.name)):
            return periods[-1]
    raise InvalidInput("no day is validated yet; validate a window first")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= LONG else f"{text[:LONG]}... ({len(text)} characters)"


COMMAND = Command(NAME, "Show the rows that validation has quarantined, or release those that are good.", add, answer)
