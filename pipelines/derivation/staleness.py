"""Days whose validated data or features are out of date with the raw data or the declared feature tables."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

from pipelines.errors import InvalidInput

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.records import Unvalidated
    from pipelines.windows import Window

ONE = timedelta(1)


@dataclass(frozen=True)
class Overdue:
    """The days that a run has to validate and build, beside its own window.

    Attributes:
        validate_since: first day to validate.
        build_since, build_until: days whose features to build, `build_until` exclusive.
    """

    validate_since: date
    build_since: date
    build_until: date


def reach(context: Context) -> timedelta:
    """The longest lookback of the feature tables: so long after its day a record still bears on features."""
    return timedelta(max((table.lookback_days for table in context.usecase.feature_tables if table.daily), default=0))


def digests(days: Iterable[date], context: Context) -> dict[date, str]:
    """By day of the features, a digest of the declared feature tables and of the validated data that they may read."""
    derivations = context.derivations
    validated = [(table.name, derivations.validated(table.name)) for table in context.usecase.tables if table.daily]
    back, digests_by_day = reach(context), {}
    for day in days:
        sources = [(day - timedelta(n)).isoformat() for n in range(back.days + 1)]
        sources_now = [
            (name, source, notes_of_table[source][1])
            for name, notes_of_table in validated
            for source in sources
            if source in notes_of_table
        ]
        digests_by_day[day] = hashlib.sha256(repr((context.usecase.feature_tables, sources_now)).encode()).hexdigest()
    return digests_by_day


def stale_features(context: Context) -> list[date]:
    """Days whose features were built from validated data or feature tables that have changed since, in order."""
    digests_at_build = context.derivations.built()
    return sorted(day for day, digest in digests(digests_at_build, context).items() if digest != digests_at_build[day])


def unvalidated(context: Context) -> list[Unvalidated]:
    """Ingested days that are not validated in their present state, even if another tool (DVC) replaced the data."""
    candidates = context.derivations.unvalidated()
    return [one for one in candidates if one.seen is None or _digest(one, context) != one.seen]


def _digest(one: Unvalidated, context: Context) -> str | None:
    return context.data.store.digest(context.data.partition("raw", one.table, one.day))


def overdue(window: Window, context: Context) -> Overdue:
    """What to validate and build after the window was ingested, from the records alone, so that a retry agrees.

    A day that is part of another run's window is left to that run, the first time.
    """
    notes, back = context.derivations, reach(context)
    changes = [one for one in unvalidated(context) if context.usecase.start <= one.day < window.end]
    days = [one.day for one in changes if one.seen or not one.expected]
    days_built = notes.built()
    affected = {one.day + timedelta(n) for one in changes if one.seen for n in range(back.days + 1)}
    stale = [*stale_features(context), *sorted(affected & set(days_built))]
    until = max([window.end, *(day + ONE for day in stale)])
    return Overdue(
        validate_since=min([window.start, *days]),
        build_since=min([window.start, *days, *stale]),
        build_until=_without_a_gap(window.end, until, set(days_built)),
    )


def _without_a_gap(end: date, until: date, available: set[date]) -> date:
    """The end of the days from `end` on, up to `until`, that have features: days never built are left to other runs."""
    while end < until and end in available:
        end += ONE
    return end


def require_current(start: date, end: date, context: Context) -> None:
    """Check that validated data and features of [start, end) are up to date.

    Raises:
        InvalidInput: naming the first day that is not.
    """
    first = start - reach(context)
    for one in unvalidated(context):
        if first <= one.day < end:
            raise InvalidInput(
                f"{one.table} of {one.day} was ingested and has not been validated since; validate it and build its "
                "features, or let the next data run do so"
            )
    stale = [day for day in stale_features(context) if start <= day < end]
    if stale:
        raise InvalidInput(
            f"the features of {stale[0]} ({len(stale)} days in all) rest on data or declarations that have changed; "
            f"run build_features --start {stale[0]} --end {stale[-1] + ONE}"
        )
