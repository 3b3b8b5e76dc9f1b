"""What depends on a partition of validated data, and is out of date once that partition changes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from pipelines.artifacts.manifest import Manifest
from pipelines.instants import midnight

if TYPE_CHECKING:
    from pipelines.context import Context


@dataclass(frozen=True)
class Downstream:
    """What is out of date.

    Attributes:
        features: first and last dependent day of each feature table; None for a table without days.
        training_sets: names of the training sets that read the partition, directly or through features.
        online: the online store's instant, if it lies after the beginning of those days.
    """

    features: dict[str, tuple[date, date] | None]
    training_sets: list[str]
    online: datetime | None


def downstream(table: str, day: date | None, context: Context) -> Downstream:
    """What depends on one partition of a table (`day` None: of a reference table)."""
    resting = [one for one in context.usecase.feature_tables if table in one.sources]
    features: dict[str, tuple[date, date] | None] = {}
    for one in resting:
        available = context.data.days("features", one.name)
        if not one.daily:
            if context.data.store.exists(context.data.partition("features", one.name, None)):
                features[one.name] = None
        elif days := [d for d in available if day is None or day <= d <= day + timedelta(one.lookback_days)]:
            features[one.name] = (min(days), max(days))
    reach = timedelta(max((one.lookback_days for one in resting), default=0))
    return Downstream(features, _training_sets(day, reach, context), _online(features, context))


def _training_sets(day: date | None, reach: timedelta, context: Context) -> list[str]:
    store, reading = context.data.store, []
    for name in store.names(context.data.uri("training_sets")):
        folder = context.data.uri("training_sets", name)
        if not store.exists(Manifest.place(folder)):  # one that was never finished
            continue
        start, end = Manifest.read(store, folder).span
        if day is None or start - reach <= day < end:
            reading.append(name)
    return reading


def _online(features: dict[str, tuple[date, date] | None], context: Context) -> datetime | None:
    from pipelines.offline.repository import online_stands_at

    if not features:
        return None
    stands_at = online_stands_at(context.feast)
    starts = [midnight(days[0], context.usecase.timezone) for days in features.values() if days]
    return stands_at if stands_at and (not starts or stands_at > min(starts)) else None
