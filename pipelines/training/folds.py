"""Rolling-origin cross-validation: train on all earlier days, validate on the next ones, and advance (Tashman 2000)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta

from pipelines.errors import InvalidInput


@dataclass(frozen=True)
class Fold:
    """Days of a fold, in order. Every training day and the embargo after it lie before every validation day."""

    train: tuple[date, ...]
    validation: tuple[date, ...]


def rolling_origin(days: Collection[date], folds: int, fold_days: int, embargo_days: int) -> list[Fold]:
    """Folds with an expanding training window, the earliest first; the last one validates on the last days.

    Args:
        days: days with rows, not necessarily consecutive.
        fold_days: calendar days of a fold's validation window, which may include days without rows.
        embargo_days: whole days between training and validation, in which labels become known.

    Raises:
        InvalidInput: if a fold would have no day to train or to validate on.
    """
    distinct = sorted(set(days))
    origins = []
    for number in reversed(range(folds)):
        end = (distinct[-1] if distinct else date.min) + timedelta(1 - number * fold_days if distinct else 0)
        start = end - timedelta(fold_days) if distinct else end
        validation = tuple(day for day in distinct if start <= day < end)
        train = tuple(day for day in distinct if day < start - timedelta(embargo_days))
        if not (train and validation):
            raise InvalidInput(
                f"{len(distinct)} days are too few for {folds} folds of {fold_days} days after an embargo of "
                f"{embargo_days}; lower training.tuning.folds or fold_days, or widen splits.train_days"
            )
        origins.append(Fold(train, validation))
    return origins
