"""The trials of one family: what they are judged on, when to stop, and records from which a killed search goes on."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pipelines.artifacts.scorer import Scorer
from pipelines.metrics.scores import measure
from pipelines.params.cleaning import Cleaning as Rules
from pipelines.params.compression import NONE, Compression
from pipelines.params.training import Latency, Tuning
from pipelines.store import Store
from pipelines.training.calibration import Uncalibrated
from pipelines.training.cleaning import Cleaning, fit_cleaning
from pipelines.training.compression import compressed
from pipelines.training.families import Extras
from pipelines.training.folds import rolling_origin
from pipelines.training.frames import numeric_inputs
from pipelines.training.machine import code_digest
from pipelines.training.onnx_graph import to_onnx
from pipelines.training.search import Progress, Record, Searchable, next_trial
from pipelines.usecase import DAY, LABEL, ModelInputs

if TYPE_CHECKING:
    from pipelines.training.distillation import Lesson
    from pipelines.training.families import Family, Fitted

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Frames:
    """What is fitted on and what it is judged by.

    Attributes:
        auxiliary: columns of further labels.
        further: rows of the training days of which only such labels are known, for families that read them.
    """

    train: pd.DataFrame
    validation: pd.DataFrame
    auxiliary: tuple[str, ...] = ()
    further: pd.DataFrame | None = None

    @property
    def taught(self) -> pd.DataFrame:
        return self.train if self.further is None else pd.concat([self.train, self.further])

    @property
    def whole(self) -> pd.DataFrame:
        return pd.concat([self.train, self.validation], ignore_index=True)

    def split(self, train_days: Any, validation_days: Any) -> Frames:
        """The rows of some days to fit on, and of some to judge by."""
        rows = self.whole
        train, held = (rows[rows[DAY].isin(days)].reset_index(drop=True) for days in (train_days, validation_days))
        further = None if self.further is None else self.further[self.further[DAY].isin(train_days)]
        return Frames(train, held, self.auxiliary, further)


@dataclass(frozen=True)
class Task:
    """Everything that a fit of one family needs besides its settings.

    Attributes:
        work: a local folder, from which a fit that was killed goes on.
    """

    family: Family
    name: str
    inputs: ModelInputs
    frames: Frames
    rules: Rules
    cleaning: Cleaning
    seed: int
    work: Path | None = None
    compression: Compression = NONE
    lesson: Lesson | None = None

    def fit(self, settings: Any, progress: Progress | None = None) -> Fitted:
        frames = self.frames
        extras = Extras(frames.auxiliary, self.work, progress, compression=self.compression, lesson=self.lesson)
        fitted = self.family.fit(
            frames.taught, frames.validation, self.inputs, self.cleaning, settings, self.seed, extras
        )
        return compressed(fitted, self.compression)

    def refit(self, settings: Any, fitted: Fitted) -> Fitted:
        """The same settings, cleaning and, of a network, epochs on training and validation rows together."""
        rows, work = replace(self.frames, train=self.frames.whole), self.work and self.work / "refit"
        epochs = getattr(fitted, "epochs", None)
        extras = Extras(rows.auxiliary, work, epochs=epochs, compression=self.compression, lesson=self.lesson)
        again = self.family.fit(rows.taught, rows.validation, self.inputs, self.cleaning, settings, self.seed, extras)
        return compressed(again, self.compression)

    def loss(self, fitted: Fitted) -> float:
        """Log loss on validation, not yet calibrated: calibration is fitted there and would flatter."""
        held = self.frames.validation
        return measure(held[LABEL], Uncalibrated().apply(fitted.log_odds(held)))["log_loss"]

    def split(self, train_days: Any, validation_days: Any) -> Task:
        """The same on other days, the cleaning fitted anew."""
        frames = self.frames.split(train_days, validation_days)
        cleaning = fit_cleaning(numeric_inputs(frames.train, self.inputs), self.inputs.numeric, self.name, self.rules)
        return replace(self, frames=frames, cleaning=cleaning)


class Judge:
    """Loss and latency of settings. Keeps the best fit so far, where it is one of the whole window."""

    def __init__(self, task: Task, tuning: Tuning, embargo_days: int) -> None:
        self.task, self.tuning, self.embargo_days = task, tuning, embargo_days
        self.kept: tuple[float, Any, Fitted] | None = None

    def __call__(self, settings: Any, progress: Progress | None) -> tuple[float, float | None]:
        if self.tuning.folds > 1:
            loss, fitted = self._folded(settings, progress)
        else:
            fitted = self.task.fit(settings, progress)
            loss = self.task.loss(fitted)
            if self.kept is None or loss < self.kept[0]:
                self.kept = (loss, settings, fitted)
        slow = one_row_ms(fitted, self.task.frames.validation, self.tuning.latency) if self.tuning.latency else None
        return loss, slow

    def fitted(self, settings: Any) -> Fitted:
        """The fit of settings on the whole training window: the one that was kept, or the same again."""
        return self.kept[2] if self.kept and self.kept[1] == settings else self.task.fit(settings)

    def _folded(self, settings: Any, progress: Progress | None) -> tuple[float, Fitted]:
        """Mean loss over the folds, and the fit of the last one; reports the mean after each."""
        days = {*self.task.frames.train[DAY], *self.task.frames.validation[DAY]}
        losses: list[float] = []
        folds = rolling_origin(days, self.tuning.folds, self.tuning.fold_days, self.embargo_days)
        for number, fold in enumerate(folds, 1):
            task = self.task.split(fold.train, fold.validation)
            fitted = task.fit(settings)
            losses.append(task.loss(fitted))
            if progress:
                progress(number, float(np.mean(losses)))
        return float(np.mean(losses)), fitted


def one_row_ms(fitted: Fitted, frame: pd.DataFrame, latency: Latency) -> float:
    """95th percentile of the time that the ONNX graph takes for one row, in one thread."""
    return Scorer(to_onnx(fitted, Uncalibrated()), fitted.inputs, threads=1).row_latency_ms(frame, latency.calls)


class Journal:
    """Records of a search, in one file that is replaced after every trial, so that a kill loses at most a trial.

    Optuna's own storages leave the trial that was killed among the running ones, where it turns later draws and shifts
    the numbers of later trials; ours hold finished trials alone.

    Args:
        key: of all that decides the records; those of another key are not taken up.
    """

    def __init__(self, store: Store, uri: str, key: str) -> None:
        self.store, self.uri, self.key = store, uri, key

    def read(self) -> list[Record]:
        if not self.store.exists(self.uri):
            return []
        kept = self.store.read_json(self.uri)
        if not isinstance(kept, dict) or kept.get("key") != self.key:
            return []
        return [Record.model_validate(record) for record in kept["records"]]

    def write(self, records: Sequence[Record]) -> None:
        listed = [record.model_dump(mode="json") for record in records]
        self.store.write_json(self.uri, {"key": self.key, "records": listed})

    def close(self) -> None:
        self.store.delete(self.uri)


def search_key(task: Task, declared: Searchable, tuning: Tuning, frames: Any) -> str:
    """A hash of what decides a search but for its budget: settings, data, seed, libraries, and the code of training."""
    decides = {
        "family": task.name,
        "settings": declared.model_dump(mode="json"),
        "tuning": tuning.model_dump(mode="json", exclude={"minutes"}),
        "seed": task.seed,
        "frames": frames,
        "cleaning": task.rules.model_dump(mode="json"),
        "compression": task.compression.model_dump(mode="json"),
        "teacher": task.lesson.teacher.model.sha256 if task.lesson else None,
        "libraries": {name: version(name) for name in ("numpy", "optuna", *task.family.LIBRARIES)},
        "code": code_digest(),
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True, default=str).encode()).hexdigest()


def search(
    declared: Searchable,
    tuning: Tuning,
    seed: int,
    budget: int,
    judge: Callable[[Any, Progress | None], tuple[float, float | None]],
    journal: Journal,
    name: str,
    clock: Callable[[], float] = time.monotonic,
) -> list[Record]:
    """Records of up to `budget` trials; those in the journal are taken as they are.

    No trial starts when `tuning.minutes` have passed, those of trials on record among them; one always runs.
    """
    records = journal.read()[:budget]
    if records:
        log.info("%s: goes on after %d recorded trials", name, len(records))
    while len(records) < budget:
        spent = sum(record.seconds for record in records)
        if records and tuning.minutes and spent >= 60 * tuning.minutes:
            log.info("%s: %g minutes have passed after %d of %d trials", name, tuning.minutes, len(records), budget)
            break
        began = clock()
        record = next_trial(declared, tuning, seed, records, judge, name)
        records.append(record.model_copy(update={"seconds": clock() - began}))
        if budget > 1:
            journal.write(records)
        loss = "none" if record.loss is None else f"{record.loss:.5f}"
        log.info("%s, trial %d of %d: %s, validation log loss %s", name, len(records), budget, record.state, loss)
    return records
