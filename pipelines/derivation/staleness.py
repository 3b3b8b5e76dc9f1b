"""Which days of validated data and features are not what the raw data and the feature tables now say."""

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
    """What a run has to do again beside its own window.

    Attributes:
        validate_since: first day to validate.
        build_since, build_until: days whose features to build, `build_until` exclusive.
    """

    validate_since: date
    build_since: date
    build_until: date


def reach(context: Context) -> timedelta:
    """How long after its day a record is still read by features."""
    return timedelta(max((table.lookback_days for table in context.usecase.feature_tables if table.daily), default=0))


def digests(days: Iterable[date], context: Context) -> dict[date, str]:
    """By day of the features, one digest of the feature tables that are declared and of what they may rest on now."""
    notes = context.derivations
    validated = [(table.name, notes.validated(table.name)) for table in context.usecase.tables if table.daily]
    back, found = reach(context), {}
    for day in days:
        sources = [(day - timedelta(n)).isoformat() for n in range(back.days + 1)]
        told = [(name, source, made[source][1]) for name, made in validated for source in sources if source in made]
        found[day] = hashlib.sha256(repr((context.usecase.feature_tables, told)).encode()).hexdigest()
    return found


def stale_features(context: Context) -> list[date]:
    """Days whose features were built from other validated data or feature tables than there are now, in order."""
    built = context.derivations.built()
    return sorted(day for day, digest in digests(built, context).items() if digest != built[day])


def unvalidated(context: Context) -> list[Unvalidated]:
    """Days that were ingested and not validated as they are. Data that another tool put back (DVC) are looked at."""
    found = context.derivations.unvalidated()
    return [one for one in found if one.seen is None or _digest(one, context) != one.seen]


def _digest(one: Unvalidated, context: Context) -> str | None:
    return context.data.store.digest(context.data.partition("raw", one.table, one.day))


def overdue(window: Window, context: Context) -> Overdue:
    """What is to be done again after the window was ingested: told by notes alone, so that a retry tells the same.

    A day that another run ingests as its own is that run's to bring on, the first time.
    """
    notes, back = context.derivations, reach(context)
    known = [one for one in unvalidated(context) if context.usecase.start <= one.day < window.end]
    owed = [one.day for one in known if one.seen or not one.expected]
    built = notes.built()
    moved = {one.day + timedelta(n) for one in known if one.seen for n in range(back.days + 1)}
    stale = [*stale_features(context), *sorted(moved & set(built))]
    until = max([window.end, *(day + ONE for day in stale)])
    return Overdue(
        validate_since=min([window.start, *owed]),
        build_since=min([window.start, *owed, *stale]),
        build_until=_without_a_gap(window.end, until, set(built)),
    )


def _without_a_gap(end: date, until: date, built: set[date]) -> date:
    """How far, up to `until`, there are features from `end` on: what was never built is for another run."""
    while end < until and end in built:
        end += ONE
    return end


def require_current(start: date, end: date, context: Context) -> None:
    """Refuse to learn from days of [start, end) that are not, or not as they are now, in validated data and features.

    Raises:
        InvalidInput: naming the first such day.
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
