"""What a fit learns from, besides its settings."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from pipelines.params.compression import NONE, Compression
from pipelines.training.cleaning import Cleaning
from pipelines.usecase import DAY, ModelInputs

if TYPE_CHECKING:
    from pipelines.training.distillation import Lesson
    from pipelines.training.search import Report


@dataclass(frozen=True)
class Frames:
    """What is fitted on and what it is judged by.

    Attributes:
        auxiliary: columns of `train` and `further` with further labels: 0, 1, or NaN where unknown.
        further: rows of the training days of which only such labels are known, for families that read them.
    """

    train: pd.DataFrame
    validation: pd.DataFrame
    auxiliary: tuple[str, ...] = ()
    further: pd.DataFrame | None = None

    @property
    def whole(self) -> pd.DataFrame:
        """Training and validation rows together."""
        return pd.concat([self.train, self.validation], ignore_index=True)

    def split(self, train_days: Collection[date], validation_days: Collection[date]) -> Frames:
        """The rows of some days to fit on, and of some to judge by."""
        rows = self.whole
        train, held = (rows[rows[DAY].isin(days)].reset_index(drop=True) for days in (train_days, validation_days))
        further = None if self.further is None else self.further[self.further[DAY].isin(train_days)]
        return Frames(train, held, self.auxiliary, further)


@dataclass(frozen=True)
class Task:
    """Everything that a fit depends on but its settings; `checkpoints` and `report` do not change what it gives.

    Attributes:
        cleaning: of the numeric inputs, fitted on `frames.train`; a part of the model.
        compression: how a network is pruned at the end of its fit.
        lesson: of a teacher, which a network learns besides the labels.
        epochs: a network ends after so many, whatever the validation frame says; None lets that frame decide.
        checkpoints: a local folder of this fit alone, from which a fit that was killed goes on.
        report: called with the number of epochs done and the validation loss; what it raises ends the fit.
    """

    frames: Frames
    inputs: ModelInputs
    cleaning: Cleaning
    seed: int
    compression: Compression = NONE
    lesson: Lesson | None = None
    epochs: int | None = None
    checkpoints: Path | None = None
    report: Report | None = None

    @property
    def train(self) -> pd.DataFrame:
        """All rows to fit on; LABEL is NaN where only auxiliary labels are known."""
        frames = self.frames
        return frames.train if frames.further is None else pd.concat([frames.train, frames.further])

    @property
    def validation(self) -> pd.DataFrame:
        """Rows that may decide when a fit stops, and nothing else of it."""
        return self.frames.validation
