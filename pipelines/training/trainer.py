"""The trainer of one family on one task: it fits, compresses, measures, and refits on all labelled rows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING

from pipelines.artifacts.card import CleaningFacts
from pipelines.metrics.scores import measure
from pipelines.params.cleaning import CleaningRules as Rules
from pipelines.params.training import FamilySettings
from pipelines.training.calibration import Uncalibrated
from pipelines.training.cleaning import fit_cleaning
from pipelines.training.compression import compress
from pipelines.training.frames import numeric_inputs
from pipelines.training.tasks import Task
from pipelines.usecase import LABEL

if TYPE_CHECKING:
    from pipelines.training.families import Family, FittedModel
    from pipelines.training.search import Report


@dataclass(frozen=True)
class Trainer:
    """Fits a family to a task.

    Attributes:
        name: of the family.
        rules: of cleaning, which is fitted again when the days change.
        task: without `report` and `epochs`, which belong to a single fit.
    """

    name: str
    family: Family
    rules: Rules
    task: Task

    def fit(self, settings: FamilySettings, report: Report | None = None) -> FittedModel:
        return self._fit(replace(self.task, report=report), settings)

    def refit(self, settings: FamilySettings, fitted: FittedModel) -> FittedModel:
        """Fit on training and validation rows together, with the same settings, cleaning and (networks) epochs."""
        task, frames = self.task, replace(self.task.frames, train=self.task.frames.whole)
        checkpoints = task.checkpoints / "refit" if task.checkpoints else None
        again = replace(task, frames=frames, checkpoints=checkpoints, epochs=getattr(fitted, "epochs", None))
        return self._fit(again, settings)

    def loss(self, fitted: FittedModel) -> float:
        """Log loss on validation before calibration, which is fitted on the same rows and would bias it."""
        validation = self.task.validation
        return measure(validation[LABEL], Uncalibrated().apply(fitted.log_odds(validation)))["log_loss"]

    def split(self, train_days: Collection[date], validation_days: Collection[date]) -> Trainer:
        """A trainer for other days, with the cleaning fitted again."""
        frames, inputs = self.task.frames.split(train_days, validation_days), self.task.inputs
        cleaning = fit_cleaning(numeric_inputs(frames.train, inputs), inputs.numeric, self.name, self.rules)
        return replace(self, task=replace(self.task, frames=frames, cleaning=cleaning))

    def cleaning_facts(self) -> CleaningFacts:
        """The fitted cleaning by input (`columns`), and the values that it changes in the frames (`counts`)."""
        task = self.task
        frames = {"train": task.frames.train, "validation": task.validation}
        counts = {name: task.cleaning.count(numeric_inputs(frame, task.inputs)) for name, frame in frames.items()}
        return CleaningFacts(columns=task.cleaning.facts(), counts=counts)

    def _fit(self, task: Task, settings: FamilySettings) -> FittedModel:
        return compress(self.family.fit(task, settings), task.compression)
