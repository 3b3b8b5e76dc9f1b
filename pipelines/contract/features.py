"""The checks of feature tables: columns, knowledge times, periods alone and days under way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.contract.altering import altered_from, without_later_records
from pipelines.contract.difference import difference
from pipelines.contract.report import CheckReport, Skipped
from pipelines.contract.subject import CheckedUseCase, known_by
from pipelines.errors import CorruptData
from pipelines.features.declared import column_problems, require_distinct
from pipelines.features.splitting import split_by_knowledge
from pipelines.features.stream import known_between, rows_known
from pipelines.instants import MICROSECOND
from pipelines.instants.arrow import INSTANT
from pipelines.usecase import KNOWN_AT, FeatureTable, Tables
from pipelines.windows import Window

if TYPE_CHECKING:
    from feast import FeatureView

CUTS, ALONE, PUSHES = 2, 14, 3  # drawn for a check: cuts, periods, instants of a day
MINUTE = timedelta(minutes=1)
AS_KNOWN = "declare `as_known(tables, instant)`, which gives the records as they stood at an instant"
Item = TypeVar("Item")


def features_columns(subject: CheckedUseCase) -> CheckReport:
    """Features have the columns of their view, types that it can hold, and one row for a key and instant."""
    report = CheckReport()
    for table in subject.usecase.feature_tables:
        rows = subject.built[table.name] if table.daily else subject.build(table, subject.window)
        problems = [*column_problems(table, rows.column_names, subject.views)]
        if KNOWN_AT in rows.column_names:
            problems += _instant_problems(table, rows)
            if not problems:
                problems += [*_refusals(table, rows, subject.window)]
        if table.name in subject.views:
            problems += _type_problems(table, rows, subject.views[table.name])
        report.findings += problems
    return report


def _instant_problems(table: FeatureTable, rows: pa.Table) -> Iterator[str]:
    kind = rows.schema.field(KNOWN_AT).type
    if not pa.types.is_timestamp(kind) or kind.tz != "UTC":
        yield f"feature table {table.name} has {KNOWN_AT} as {kind}; give an instant in UTC, timestamp[us, UTC]"


def _refusals(table: FeatureTable, rows: pa.Table, window: Window) -> Iterator[str]:
    """What `build_features` would refuse of a table's rows."""
    try:
        require_distinct(table, rows)
        for _ in split_by_knowledge(table, rows, window):
            pass
    except CorruptData as error:
        yield str(error)


def _type_problems(table: FeatureTable, rows: pa.Table, view: FeatureView) -> Iterator[str]:
    """Which features have a type that the one declared to Feast cannot hold."""
    from pipelines.offline.sources import source_of

    stored = source_of(view).stored
    for field in view.features:
        name = stored.get(field.name, field.name)
        if name in rows.column_names and not _holds(str(field.dtype), rows.schema.field(name).type):
            yield (
                f"feature table {table.name} has {name} as {rows.schema.field(name).type}, and its view declares "
                f"{field.dtype}; declare what `build` gives"
            )


def _holds(declared: str, kind: pa.DataType) -> bool:
    """Whether values of an Arrow type are values of one of Feast's."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_null(kind):
        return True
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    holds = {
        "Float32": number,
        "Float64": number,
        "Int32": pa.types.is_integer(kind) and kind.bit_width <= 32,
        "Int64": pa.types.is_integer(kind),
        "String": pa.types.is_string(kind) or pa.types.is_large_string(kind),
        "Bool": pa.types.is_boolean(kind),
        "Bytes": pa.types.is_binary(kind) or pa.types.is_large_binary(kind),
        "UnixTimestamp": pa.types.is_timestamp(kind) or pa.types.is_date(kind),
    }
    return bool(holds.get(declared, pa.types.is_list(kind) if declared.startswith("Array") else True))


def knowledge(subject: CheckedUseCase) -> CheckReport:
    """No feature known by an instant changes when later records do."""
    report, draw, window = CheckReport(), subject.draw(), subject.window
    calendar, periods = window.calendar, window.periods
    for period in _drawn(periods[:-1], CUTS, draw):
        first, cut = calendar.after(period), calendar.end_at(period) - MICROSECOND
        others = [altered_from(subject.usecase, subject.tables, first, draw, dealt) for dealt in (True, False)]
        for table in subject.daily:
            after = _first_that_can_be(subject, table, others)
            if after is None:
                report.notes.append(f"{table.name} takes no other records after {first}, so that none were tried")
                continue
            how = "with other records in later periods"
            report.findings += _moved(table, subject.built[table.name], after, cut, how)
    if not subject.has_as_known and not any(table.known for table in subject.usecase.tables):
        if len(periods) == 1:
            raise Skipped(f"the window {window} is one period, and nothing tells what was known within it; {AS_KNOWN}")
        report.notes.append(f"cuts within a period were not tried; {AS_KNOWN}")
        return report
    for cut in _instants(window, CUTS, draw):
        report.findings += _foreseen(subject, subject.daily, cut)
    for table in subject.daily:
        for cut in _known_at(subject.built[table.name], CUTS, draw):
            report.findings += _foreseen(subject, [table], cut)
    return report


def _first_that_can_be(subject: CheckedUseCase, table: FeatureTable, others: Sequence[Tables]) -> pa.Table | None:
    """A feature table built from the first of these tables that is not refused as corrupt."""
    for tables in others:
        try:
            return subject.build(table, subject.window, tables)
        except CorruptData:
            continue
    return None


def _foreseen(subject: CheckedUseCase, tables: Sequence[FeatureTable], cut: datetime) -> Iterator[str]:
    """Rows known by an instant within a period that depend on later records."""
    calendar, window = subject.window.calendar, subject.window
    span = window.between(window.start, calendar.after(calendar.containing(cut)))
    now = without_later_records(subject.usecase, subject.as_of(cut), cut)
    for table in tables:
        before, after = subject.build(table, span), subject.build(table, span, now)
        yield from _moved(table, before, after, cut, "without what its records tell later")


def _moved(table: FeatureTable, before: pa.Table, after: pa.Table, cut: datetime, when: str) -> Iterator[str]:
    how = difference(known_by(before, cut), known_by(after, cut), (*table.keys, KNOWN_AT))
    if how:
        yield (
            f"feature table {table.name}, of what is known by {cut.isoformat()}: {how} {when}; rest a row on what was "
            "known by its known_at alone, or let known_at be later"
        )


def alone(subject: CheckedUseCase) -> CheckReport:
    """A period that is built alone has the rows of a longer window."""
    report, window = CheckReport(), subject.window
    periods = _drawn(window.periods, ALONE, subject.draw())
    for table in subject.daily:
        whole = dict(split_by_knowledge(table, subject.built[table.name], window))
        for period in periods:
            one = window.between(period, window.calendar.after(period))
            how = difference(whole[period], subject.build(table, one), (*table.keys, KNOWN_AT), exact=True)
            if how:
                report.findings.append(
                    f"feature table {table.name}, {period}: {how} when it is built alone; let lookback_days "
                    f"({table.lookback_days}) cover what a row reads, order rows, and read nothing behind them"
                )
                break
    return report


def live(subject: CheckedUseCase) -> CheckReport:
    """The rows pushed during a day equal those of a later backfill."""
    report, draw, window = CheckReport(), subject.draw(), subject.window
    calendar = window.calendar
    days = sorted({calendar.day_of(period) for period in window.periods})
    periods = [one for one in calendar.of_day(days[draw.integers(len(days))]) if one in set(window.periods)]
    day = window.between(periods[0], calendar.after(periods[-1]))
    backfill = {table.name: subject.build(table, day) for table in subject.daily}
    if subject.has_as_known:
        telling = [at for rows in backfill.values() for at in _known_at(rows, 1, draw)]
        drawn = [*_instants(day, PUSHES, draw), *_drawn(telling, PUSHES, draw)]
        instants = [day.start_at, *sorted(drawn), day.end_at - MICROSECOND]
    else:
        instants = [calendar.end_at(period) - MICROSECOND for period in _drawn(periods, PUSHES, draw)]
        report.notes.append(f"instants within a period were not tried; {AS_KNOWN}")
    since = day.start_at - MICROSECOND
    for until in dict.fromkeys(instants):
        report.findings += _unlike(subject, backfill, since, until)
        since = until
    return report


def _unlike(subject: CheckedUseCase, backfill: Tables, since: datetime, until: datetime) -> Iterator[str]:
    now = subject.as_of(until)

    def read(table: FeatureTable, window: Window) -> Tables:
        return subject.sources(table, window, now)

    for table, rows in rows_known(subject.usecase, read, since, until):
        if not table.daily:
            continue
        how = difference(known_between(backfill[table.name], since, until), rows, (*table.keys, KNOWN_AT))
        if how:
            yield (
                f"feature table {table.name}, of what becomes known from {since.isoformat()} to {until.isoformat()}: "
                f"{how} in a push at that instant; rest a row on what was known by its known_at alone"
            )


def _drawn(items: Sequence[Item], most: int, draw: np.random.Generator) -> list[Item]:
    """A random selection of the items, in order."""
    return [items[n] for n in sorted(draw.permutation(len(items))[:most])]


def _instants(window: Window, count: int, draw: np.random.Generator) -> list[datetime]:
    """Whole minutes of a window, in order."""
    minutes = (window.end_at - window.start_at) // MINUTE
    return [window.start_at + int(n) * MINUTE for n in sorted(draw.integers(0, minutes, count))]


def _known_at(rows: pa.Table, count: int, draw: np.random.Generator) -> list[datetime]:
    """Instants at which rows become known, where a look ahead would show, in order."""
    instants = pc.unique(rows[KNOWN_AT].cast(INSTANT, safe=False)).drop_null().sort()
    return [instants[int(n)].as_py() for n in sorted(draw.permutation(len(instants))[:count])]
