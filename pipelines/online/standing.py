"""The instant whose knowledge the online store holds, as the registry says it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pipelines.declare.views import rests_on_earlier_days
from pipelines.instants import MICROSECOND, local_day, midnight
from pipelines.usecase import UseCase

if TYPE_CHECKING:
    from feast import FeatureStore

BEHIND = timedelta(hours=49)  # the day before yesterday is lacking, also where clocks were set back


def online_stands_at(store: FeatureStore) -> datetime | None:
    """The online store's instant: it holds every view's rows known before it. None before the first materialization."""
    ends = [view.most_recent_end_time for view in store.list_feature_views()]
    return min(end.astimezone(UTC) for end in ends if end) + MICROSECOND if ends and all(ends) else None


def known_until(view: str, as_of: datetime, usecase: UseCase) -> datetime:
    """The instant before which the online store holds a view's rows while it stands at `as_of`.

    Where rows are known as a day begins, and rest on days before it, those of `as_of` itself are held as well.
    """
    tables = {table.name: table for table in usecase.feature_tables}
    begins = view in tables and rests_on_earlier_days(tables[view]) and _begins_a_day(as_of, usecase.timezone)
    return as_of + MICROSECOND if begins else as_of


def standing_of(view: str, until: datetime, usecase: UseCase) -> datetime:
    """The instant at which the store stands while it holds a view's rows known before `until`: of `known_until`."""
    last = until - MICROSECOND
    return last if known_until(view, last, usecase) == until and _begins_a_day(last, usecase.timezone) else until


def _begins_a_day(instant: datetime, timezone: str) -> bool:
    return midnight(local_day(instant, timezone), timezone) == instant


def note_online_stands_at(store: FeatureStore, at: datetime) -> None:
    """Register that everything known before an instant is online; no later materialization starts before it."""
    for view in store.list_feature_views():
        since = view.most_recent_end_time
        if since is None or since.astimezone(UTC) < at - MICROSECOND:
            store.registry.apply_materialization(view, store.project, since or at - MICROSECOND, at - MICROSECOND)


def standing_problem(stands_at: datetime | None, now: datetime) -> str | None:
    """Why the online store does not fit a clock, if so: it is ahead of it, or lacks more than a day."""
    if stands_at is None:
        return None
    held = f"the online store holds what is known at {stands_at.isoformat()}, and the clock says {now.isoformat()}"
    if stands_at > now:
        return (
            f"{held}: newer rows are left out as of the future; move the clock there, or fill a store of another home"
        )
    if now - stands_at > BEHIND:
        return f"{held}: features are old or missing; run the data chain up to then (materialize)"
    return None
