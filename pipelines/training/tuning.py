"""The trials of one family: their objective, their budget, and the records from which a killed search continues."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pipelines.artifacts.scorer import Scorer
from pipelines.params.training import FamilySettings, Latency
from pipelines.store import Store
from pipelines.training.calibration import Uncalibrated
from pipelines.training.folds import rolling_origin
from pipelines.training.machine import code_digest
from pipelines.training.onnx_graph import to_onnx
from pipelines.training.search import Objective, Record, Report, Space, next_trial
from pipelines.training.trainer import Trainer
from pipelines.usecase import DAY

if TYPE_CHECKING:
    from pipelines.params import Params
    from pipelines.training.families import FittedModel

log = logging.getLogger(__name__)


class TrialObjective:
    """Loss and latency of settings. Keeps the best fit so far, unless fits are of folds."""

    def __init__(self, trainer: Trainer, params: Params) -> None:
        self.trainer, self.tuning, self.embargo_days = trainer, params.training.tuning, params.splits.embargo_days
        self.best: tuple[float, FamilySettings, FittedModel] | None = None

    def __call__(self, settings: FamilySettings, report: Report | None) -> tuple[float, float | None]:
        if self.tuning.folds > 1:
            loss, fitted = self._fit_folds(settings, report)
        else:
            fitted = self.trainer.fit(settings, report)
            loss = self.trainer.loss(fitted)
            if self.best is None or loss < self.best[0]:
                self.best = (loss, settings, fitted)
        latency = self.tuning.latency
        return loss, one_row_ms(fitted, self.trainer.task.validation, latency) if latency else None

    def fit(self, settings: FamilySettings) -> FittedModel:
        """The fit of settings on the whole training window: the best fit if it has them, else a new one."""
        return self.best[2] if self.best and self.best[1] == settings else self.trainer.fit(settings)

    def _fit_folds(self, settings: FamilySettings, report: Report | None) -> tuple[float, FittedModel]:
        """Mean loss over the folds, and the fit of the last fold; reports the mean so far after each fold."""
        frames = self.trainer.task.frames
        days = {*frames.train[DAY], *frames.validation[DAY]}
        losses: list[float] = []
        folds = rolling_origin(days, self.tuning.folds, self.tuning.fold_days, self.embargo_days)
        for number, fold in enumerate(folds, 1):
            trainer = self.trainer.split(fold.train, fold.validation)
            fitted = trainer.fit(settings)
            losses.append(trainer.loss(fitted))
            if report:
                report(number, float(np.mean(losses)))
        return float(np.mean(losses)), fitted


def one_row_ms(fitted: FittedModel, frame: pd.DataFrame, latency: Latency) -> float:
    """95th percentile of the milliseconds that the ONNX graph takes for one row, in one thread."""
    graph = to_onnx(fitted, Uncalibrated())
    return Scorer(graph, fitted.inputs, threads=1).row_latency_ms(frame, latency.calls)


class Journal:
    """Records of a search, in one file that is replaced after every trial, so that a kill loses at most one trial.

    Optuna's storages keep a killed trial as a running one, which changes later draws and the numbers of later trials;
    the journal has finished trials only.

    Args:
        key: hash of everything that determines the records; records with another key are ignored.
    """

    def __init__(self, store: Store, uri: str, key: str) -> None:
        self.store, self.uri, self.key = store, uri, key

    def read(self) -> list[Record]:
        if not self.store.exists(self.uri):
            return []
        journal = self.store.read_json(self.uri)
        if not isinstance(journal, dict) or journal.get("key") != self.key:
            return []
        return [Record.model_validate(record) for record in journal["records"]]

    def write(self, records: Sequence[Record]) -> None:
        documents = [record.model_dump(mode="json") for record in records]
        self.store.write_json(self.uri, {"key": self.key, "records": documents})

    def close(self) -> None:
        self.store.delete(self.uri)


def search_key(trainer: Trainer, space: Space, frames: Mapping[str, str]) -> str:
    """A hash of everything that determines a search, except its budget: settings, data, seed, libraries, training code.

    Args:
        frames: sha256 of each frame of the training set.
    """
    task = trainer.task
    decides = {
        "family": trainer.name,
        "settings": space.declared.model_dump(mode="json"),
        "tuning": space.tuning.model_dump(mode="json", exclude={"minutes"}),
        "seed": space.seed,
        "frames": frames,
        "cleaning": trainer.rules.model_dump(mode="json"),
        "compression": task.compression.model_dump(mode="json"),
        "teacher": hashlib.sha256(task.lesson.teacher.graph).hexdigest() if task.lesson else None,
        "libraries": {name: version(name) for name in ("numpy", "optuna", *trainer.family.LIBRARIES)},
        "code": code_digest(),
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True, default=str).encode()).hexdigest()


def search(
    space: Space,
    budget: int,
    objective: Objective,
    journal: Journal,
    clock: Callable[[], float] = time.monotonic,
) -> list[Record]:
    """Run up to `budget` trials, beginning with the records in the journal, and give all records.

    No trial starts after `tuning.minutes`, which include the time of recorded trials; one trial always runs.
    """
    name, minutes, records = space.name, space.tuning.minutes, journal.read()[:budget]
    if records:
        log.info("%s: continuing after %d recorded trials", name, len(records))
    while len(records) < budget:
        if records and minutes and sum(record.seconds for record in records) >= 60 * minutes:
            log.info("%s: %g minutes have passed after %d of %d trials", name, minutes, len(records), budget)
            break
        began = clock()
        record = next_trial(space, records, objective)
        records.append(record.model_copy(update={"seconds": clock() - began}))
        if budget > 1:
            journal.write(records)
        loss = "none" if record.loss is None else f"{record.loss:.5f}"
        log.info("%s, trial %d of %d: %s, validation log loss %s", name, len(records), budget, record.state, loss)
    return records
