"""What depends on a partition of validated data, and is out of date once that partition changes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pipelines.artifacts.manifest import Manifest

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.periods import Period


@dataclass(frozen=True)
class Downstream:
    """What is out of date.

    Attributes:
        features: first and last dependent period of each feature table; None for a table without periods.
        training_sets: names of the training sets that read the partition, directly or through features.
        online: the online store's instant, if it lies after the beginning of those periods.
    """

    features: dict[str, tuple[Period, Period] | None]
    training_sets: list[str]
    online: datetime | None


def downstream(table: str, period: Period | None, context: Context) -> Downstream:
    """What depends on one partition of a table (`period` None: of a reference table)."""
    resting = [one for one in context.usecase.feature_tables if table in one.sources]
    features: dict[str, tuple[Period, Period] | None] = {}
    for one in resting:
        affected = context.data.periods("features", one.name)
        if period is not None:
            last = context.calendar.ahead(period, one.lookback_days)[-1]
            affected = [other for other in affected if period <= other <= last]
        if not one.daily:
            if context.data.store.exists(context.data.partition("features", one.name, None)):
                features[one.name] = None
        elif affected:
            features[one.name] = (min(affected), max(affected))
    reach = max((one.lookback_days for one in resting), default=0)
    return Downstream(features, _training_sets(period, reach, context), _online(features, context))


def _training_sets(period: Period | None, reach: int, context: Context) -> list[str]:
    """The names of the training sets whose windows, or the days before them that features read, hold a period."""
    store, reading = context.data.store, []
    for name in store.names(context.data.uri("training_sets")):
        folder = context.data.uri("training_sets", name)
        if not store.exists(Manifest.place(folder)):  # a training set that was never completed
            continue
        start, end = Manifest.read(store, folder).span
        if period is None or start - timedelta(reach) <= context.calendar.day_of(period) < end:
            reading.append(name)
    return reading


def _online(features: dict[str, tuple[Period, Period] | None], context: Context) -> datetime | None:
    from pipelines.online.standing import online_stands_at

    if not features:
        return None
    stands_at = online_stands_at(context.feast)
    starts = [context.calendar.start_at(span[0]) for span in features.values() if span]
    return stands_at if stands_at and (not starts or stands_at > min(starts)) else None
