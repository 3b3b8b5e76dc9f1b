"""Periods whose validated data or features are out of date with the raw data or the declared feature tables."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from pipelines.declare.code import code_of
from pipelines.declare.columns import columns_read, part_read
from pipelines.declare.views import rests_on_earlier_days
from pipelines.errors import InvalidInput
from pipelines.periods import name_of

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.periods import Calendar, Period
    from pipelines.records import Unvalidated, Validated
    from pipelines.windows import Window


@dataclass(frozen=True)
class Overdue:
    """The periods that a run has to validate and build, beside its own window.

    Attributes:
        validate_since: first period to validate.
        build_since, build_until: periods whose features to build, `build_until` exclusive.
    """

    validate_since: Period
    build_since: Period
    build_until: Period


def reach(context: Context) -> int:
    """The longest lookback of the feature tables, in days: for so long a record affects later features."""
    return max((table.lookback_days for table in context.usecase.feature_tables if table.daily), default=0)


class Grounds(NamedTuple):
    """Digests of the inputs of one period of a feature table: it is up to date if one of them is on record for it.

    Attributes:
        read: of the declaration, the code that builds the table, and the columns that it reads of validated data of its
            sources; `whole` where these columns, or their digests, are not known.
        whole: likewise of whole partitions, as earlier versions noted it of all tables.
    """

    read: str
    whole: str


def digests(periods: Sequence[Period], context: Context) -> dict[str, dict[Period, Grounds]]:
    """The digests of each feature table's inputs, by period."""
    derivations, calendar, usecase = context.derivations, context.calendar, context.usecase
    validated = {table.name: derivations.validated(table.name) for table in usecase.tables if table.daily}
    by_table: dict[str, dict[Period, Grounds]] = {}
    back = max((table.lookback_days for table in usecase.feature_tables), default=0)
    line = calendar.between(calendar.back(min(periods), back), calendar.after(max(periods))) if periods else []
    names = [name_of(one) for one in line]
    for feature_table in usecase.feature_tables:
        declared = repr((feature_table, code_of(feature_table, usecase)))
        read = columns_read(feature_table)
        notes = [
            (name, validated[name], {one: _part(note, read) for one, note in validated[name].items()})
            for name in sorted(feature_table.sources)
            if name in validated
        ]
        of_table = by_table.setdefault(feature_table.name, {})
        for period in periods:
            first = bisect_left(line, calendar.back(period, feature_table.lookback_days))
            last = bisect_left(line, period) + (0 if rests_on_earlier_days(feature_table) else 1)
            whole = [(name, one, of[one].sha256) for name, of, _ in notes for one in names[first:last] if one in of]
            parts = [(name, one, part[one]) for name, _, part in notes for one in names[first:last] if one in part]
            known = all(part is not None for *_, part in parts)
            of_table[period] = Grounds(_sha256((declared, parts if known else whole)), _sha256((declared, whole)))
    return by_table


def _part(note: Validated, read: frozenset[str] | None) -> str | None:
    """The digest of the columns that are read from a validated partition; None where it is not known."""
    if read is None or note.columns is None:
        return None
    return _sha256([(name, note.columns[name]) for name in sorted(part_read([*note.columns], read))])


def _sha256(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()


def stale_features(context: Context) -> list[Period]:
    """Periods whose features were built from validated data or feature tables that have changed since, in order."""
    return sorted(stale_tables(context))


def stale_tables(context: Context) -> dict[Period, list[str]]:
    """As `stale_features`, with the feature tables of each such period."""
    built = built_periods(context)
    stale: dict[Period, list[str]] = {}
    for table, of_table in digests(list(built), context).items():
        for period, grounds in of_table.items():
            if built[period].get(table) not in grounds:
                stale.setdefault(period, []).append(table)
    return stale


def built_periods(context: Context) -> dict[Period, dict[str, str]]:
    """The recorded digests of built periods, by period and feature table.

    A period that only has tables built from earlier days, as it begins, does not count as built.
    """
    ahead = {table.name for table in context.usecase.feature_tables if rests_on_earlier_days(table)}
    others = {table.name for table in context.usecase.feature_tables} - ahead
    noted = context.derivations.built()
    return {period: of for period, of in noted.items() if not others or of.keys() - ahead}


def unvalidated(context: Context) -> list[Unvalidated]:
    """Ingested periods that are not validated in their present state, even if another tool (DVC) replaced the data."""
    candidates = context.derivations.unvalidated()
    return [one for one in candidates if one.seen is None or _digest(one, context) != one.seen]


def _digest(one: Unvalidated, context: Context) -> str | None:
    return context.data.store.digest(context.data.partition("raw", one.table, one.period))


def overdue(window: Window, context: Context) -> Overdue:
    """What to validate and build after the window was ingested, from the records alone, so that a retry agrees.

    A period that is part of another run's window is left to that run, the first time.
    """
    calendar, back = context.calendar, reach(context)
    first = calendar.first_of(context.usecase.start)
    changes = [one for one in unvalidated(context) if first <= one.period < window.end]
    periods = [one.period for one in changes if one.seen or not one.expected]
    built = set(built_periods(context))
    affected = {period for one in changes if one.seen for period in calendar.ahead(one.period, back)}
    stale = [*stale_features(context), *sorted(affected & built)]
    until = max([window.end, *(calendar.after(period) for period in stale)])
    return Overdue(
        validate_since=min([window.start, *periods]),
        build_since=min([window.start, *periods, *stale]),
        build_until=_without_a_gap(window.end, until, built, calendar),
    )


def _without_a_gap(end: Period, until: Period, built: set[Period], calendar: Calendar) -> Period:
    """The end of the periods from `end` on, up to `until`, that have features; further ones are left to other runs."""
    while end < until and end in built:
        end = calendar.after(end)
    return end


def require_current(window: Window, context: Context) -> None:
    """Check that validated data and features of a window are up to date.

    Raises:
        InvalidInput: naming the first period that is not.
    """
    calendar = context.calendar
    first = calendar.back(window.start, reach(context))
    for one in unvalidated(context):
        if first <= one.period < window.end:
            raise InvalidInput(
                f"{one.table} of {one.period} was ingested and has not been validated since; validate it and build its "
                "features, or let the next data run do so"
            )
    tables = {period: of for period, of in stale_tables(context).items() if window.start <= period < window.end}
    if tables:
        first, last, names = min(tables), max(tables), sorted({name for of in tables.values() for name in of})
        raise InvalidInput(
            f"the features of {first} ({len(tables)} {calendar.noun}s in all) rest on data or declarations that have "
            f"changed ({', '.join(names)}); run build_features {calendar.flags(first, last)}"
        )
