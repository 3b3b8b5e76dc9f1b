"""The task of a fit: its data and everything else that it depends on besides settings."""

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
    """The rows to fit on, and the rows to validate on.

    Attributes:
        auxiliary: columns of `train` and `further` with further labels: 0, 1, or NaN where unknown.
        further: rows of the training days that have such labels only, for families that read them.
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
        """The frames with the rows of some days to fit on, and of others to validate on."""
        rows = self.whole
        train, validation = (
            rows[rows[DAY].isin(days)].reset_index(drop=True) for days in (train_days, validation_days)
        )
        further = None if self.further is None else self.further[self.further[DAY].isin(train_days)]
        return Frames(train, validation, self.auxiliary, further)


@dataclass(frozen=True)
class Task:
    """Everything that a fit depends on besides its settings; `checkpoints` and `report` do not change the result.

    Attributes:
        cleaning: of the numeric inputs, fitted on `frames.train`; a part of the model.
        compression: how a network is pruned at the end of its fit.
        lesson: of a teacher, from which a network learns besides the labels.
        epochs: number of epochs of a network; None lets the validation loss decide.
        checkpoints: a local folder of this fit alone, from which a killed fit continues.
        report: called with the number of epochs done and the validation loss; an exception from it ends the fit.
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
        """Rows that may decide when a fit stops, and nothing else."""
        return self.frames.validation
