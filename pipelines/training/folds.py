"""Rolling-origin cross-validation: train on all that was known, validate on what came next, move on (Tashman 2000)."""

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
        days: that have rows. They need not be consecutive, and count as calendar days.
        fold_days: calendar days that a fold validates on, less those without rows.
        embargo_days: whole days between training and validation, as many as labels take to be known.

    Raises:
        InvalidInput: if a fold would have no day to train or to validate on.
    """
    known = sorted(set(days))
    origins = []
    for number in reversed(range(folds)):
        end = (known[-1] if known else date.min) + timedelta(1 - number * fold_days if known else 0)
        start = end - timedelta(fold_days) if known else end
        held = tuple(day for day in known if start <= day < end)
        train = tuple(day for day in known if day < start - timedelta(embargo_days))
        if not (train and held):
            raise InvalidInput(
                f"{len(known)} days are too few for {folds} folds of {fold_days} days after an embargo of "
                f"{embargo_days}; lower training.tuning.folds or fold_days, or widen splits.train_days"
            )
        origins.append(Fold(train, held))
    return origins
