"""`flightdeck quarantine`: list quarantined rows with their reasons, and release those that are good after all."""

from __future__ import annotations

import argparse
import getpass
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pipelines.console.command import Answer, Arguments, Command, verbs
from pipelines.console.table import show
from pipelines.errors import CheckFailed, InvalidInput
from pipelines.json_text import JsonObject
from pipelines.store.layout import UNDATED

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.context import Context
    from pipelines.derivation.downstream import Downstream
    from pipelines.usecase import RawTable

NAME = "quarantine"
LONG = 60  # characters of a value in a table
MARK = 12  # characters of a row's digest that are shown


def add(parser: argparse.ArgumentParser) -> None:
    verb = verbs(parser)
    listing = verb("list", "Count quarantined rows by table, day and reason.")
    listing.add_argument("--table", metavar="TABLE", help="only this table")
    listing.add_argument("--day", metavar="DAY", help="only this day, `undated`, or `all` for reference tables")
    showing = verb("show", "Show a day's quarantined rows.")
    releasing = verb("release", "Declare quarantined rows good.")
    for one in (showing, releasing):
        one.add_argument("table", metavar="TABLE")
        one.add_argument("day", metavar="DAY", help="an ISO day, `undated`, or `all` for a reference table")
    which = releasing.add_mutually_exclusive_group()
    which.add_argument("--reason", metavar="CODE", help="the rows with this reason, for this reason alone")
    which.add_argument("--row", metavar="ROW", help="a row, by its mark in `show` or its key, values joined by commas")
    releasing.add_argument("--why", metavar="TEXT", required=True, help="why they are good, for the record")
    releasing.add_argument("--actor", metavar="NAME", default=None, help="default: the user")


def answer(arguments: Arguments, context: Context) -> Answer:
    """Run the command.

    Raises:
        InvalidInput: if there is no such table, day, reason or row.
        CheckFailed: if the day does not pass with the released rows; the release is recorded nevertheless.
    """
    if arguments["verb"] == "list":
        return list_rows(arguments["table"], arguments["day"], context)
    table, day = _table_of(arguments["table"], context), _day_of(arguments["day"])
    if arguments["verb"] == "show":
        return show_rows(table, day, context)
    if isinstance(day, str):
        raise InvalidInput(f"an undated row of {table.name} has no day; give it one at the source, and ingest again")
    if not arguments["why"].strip():
        raise InvalidInput("--why is empty; say why the rows are good, for the record")
    actor = arguments["actor"] or getpass.getuser()
    return release_rows(table, day, Selection(arguments["reason"], arguments["row"]), arguments["why"], actor, context)


def list_rows(table: str | None, day: str | None, context: Context) -> Answer:
    """Quarantined rows by table, day and reason."""
    tables = [_table_of(table, context)] if table else list(context.usecase.tables)
    selected = None if day is None else _day_of(day)
    counts: list[JsonObject] = []
    for one in tables:
        for partition_day in _partitions(one, context):
            if day is None or partition_day == selected:
                uri = context.data.partition(NAME, one.name, partition_day)
                codes = context.data.store.read_table(uri, ["reason"])["reason"].to_pylist()
                reasons = Counter(code for joined in codes for code in joined.split(","))
                counts.append(
                    {"table": one.name, "day": _day_name(partition_day), "rows": len(codes), "reasons": dict(reasons)}
                )
    rows = [
        (one["table"], one["day"], str(one["rows"]), ", ".join(f"{code} {n}" for code, n in one["reasons"].items()))
        for one in counts
    ]
    heads = ("table", "day", "rows", "reasons")
    return counts, lambda: show(heads, rows, f"quarantine of {context.usecase.name}")


def show_rows(table: RawTable, day: date | str | None, context: Context) -> Answer:
    """A partition's quarantined rows, with their reasons and marks."""
    from pipelines.validation.releases import digests

    rows, codes = _read_rows(table, day, context)
    entries = [
        {"row": mark[:MARK], "reason": code, **row}
        for mark, code, row in zip(digests(rows), codes, rows.to_pylist(), strict=True)
    ]
    cells = [
        (one["row"], one["reason"], ", ".join(f"{n}={_short(v)}" for n, v in list(one.items())[2:] if v is not None))
        for one in entries
    ]
    return entries, lambda: show(("row", "reason", "values"), cells, f"quarantine of {table.name}, {_day_name(day)}")


@dataclass(frozen=True)
class Selection:
    """Which rows of a partition are meant: those with a reason, or one row by its mark."""

    reason: str | None
    row: str | None


def release_rows(
    table: RawTable, day: date | None, selection: Selection, why: str, actor: str, context: Context
) -> Answer:
    """Record the release, validate the day again, and say what is out of date."""
    from pipelines.derivation.downstream import downstream
    from pipelines.derivation.staleness import stale_features
    from pipelines.records import Release
    from pipelines.steps import execute
    from pipelines.validation.releases import digests, pick_rows

    rows, codes = _read_rows(table, day, context)
    reason = selection.reason
    numbers = pick_rows(rows, table.key, reason, selection.row, codes)
    if not numbers:
        wanted = f"reason {reason!r}" if reason else f"row {selection.row!r}"
        have = sorted({code for joined in codes for code in joined.split(",")})
        raise InvalidInput(
            f"{table.name} of {_day_name(day)}: no quarantined row has the {wanted}; reasons are {', '.join(have)}, "
            f"rows are in `flightdeck quarantine show {table.name} {_day_name(day)}`"
        )
    at = datetime.now(UTC)
    releases = [
        Release(table.name, _day_name(day), mark, code, actor, why, at)
        for n, mark in zip(numbers, digests(rows.take(numbers)), strict=True)
        for code in codes[n].split(",")
        if reason is None or code == reason
    ]
    context.releases.add(releases)
    uri, store = context.data.partition("validated", table.name, day), context.data.store
    before = store.read_bytes(uri) if store.exists(uri) else None
    start = day or _some_day(context)
    try:
        execute("validate", {"start": start, "end": start + timedelta(1)}, context)
    except CheckFailed as error:
        raise CheckFailed(f"the release is recorded, but the validation of {start} did not pass: {error}") from None
    is_changed = store.read_bytes(uri) != before or (day is not None and day in stale_features(context))
    remaining = dict(Counter(_codes(table, day, context)))
    stale = downstream(table.name, day, context) if is_changed else None
    report = {
        "table": table.name,
        "day": _day_name(day),
        "released": len(numbers),
        "still_quarantined": remaining,
        "validated_changed": is_changed,
        "out_of_date": vars(stale) if stale else None,
    }
    return report, lambda: print("\n".join(_describe_release(report, stale)))


def _describe_release(report: Mapping[str, Any], stale: Downstream | None) -> list[str]:
    lines = [f"{report['released']} rows of {report['table']} of {report['day']} are released"]
    if report["still_quarantined"]:
        lines.append(
            f"still quarantined there: {', '.join(f'{n} {c}' for c, n in report['still_quarantined'].items())}"
        )
    if stale is None:
        return [*lines, "validated data have not changed: nothing is out of date"]
    for name, days in stale.features.items():
        if days is None:
            lines.append(f"out of date: features/{name}; build the features of any day")
            continue
        first, end = days[0], days[1] + timedelta(1)
        lines.append(f"out of date: features/{name} from {first} to {days[1]}")
        lines.append(f"  flightdeck build_features --start {first} --end {end}")
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


def _day_of(text: str) -> date | str | None:
    """A day, UNDATED, or None for a reference table."""
    if text in ("all", UNDATED):
        return None if text == "all" else UNDATED
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidInput(
            f"{text!r} is not a day; give one such as 2013-09-01, `{UNDATED}`, or `all` for a reference table"
        ) from None


def _day_name(day: date | str | None) -> str:
    return str(day or "all")


def _partitions(table: RawTable, context: Context) -> list[date | str | None]:
    last = UNDATED if table.daily else None
    there = [last] if context.data.store.exists(context.data.partition(NAME, table.name, last)) else []
    return [*context.data.days(NAME, table.name), *there]


def _read_rows(table: RawTable, day: date | str | None, context: Context) -> tuple[pa.Table, list[str]]:
    """The quarantined rows of a partition as ingested, and their reasons.

    Raises:
        InvalidInput: if it has none.
    """
    if day not in _partitions(table, context):
        raise InvalidInput(f"{table.name} has no quarantined row on {_day_name(day)}; see `flightdeck quarantine list`")
    rows = context.data.store.read_table(context.data.partition(NAME, table.name, day))
    return rows.drop_columns(["reason"]), rows["reason"].to_pylist()


def _codes(table: RawTable, day: date | None, context: Context) -> list[str]:
    return _read_rows(table, day, context)[1] if day in _partitions(table, context) else []


def _some_day(context: Context) -> date:
    """A day to validate a reference table with, since every window validates it."""
    for table in context.usecase.tables:
        if table.daily and (days := context.data.days("validated", table.name)):
            return days[-1]
    raise InvalidInput("no day is validated yet; validate a window first")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= LONG else f"{text[:LONG]}... ({len(text)} characters)"


COMMAND = Command(NAME, "Show the rows that validation has quarantined, or release those that are good.", add, answer)
