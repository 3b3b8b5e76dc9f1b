"""The trials of one family: what they are judged on, when to stop, and records from which a killed search goes on."""

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
    from pipelines.training.families import Fitted

log = logging.getLogger(__name__)


class TrialObjective:
    """Loss and latency of settings. Keeps the best fit so far, where it is one of the whole window."""

    def __init__(self, trainer: Trainer, params: Params) -> None:
        self.trainer, self.tuning, self.embargo_days = trainer, params.training.tuning, params.splits.embargo_days
        self.kept: tuple[float, FamilySettings, Fitted] | None = None

    def __call__(self, settings: FamilySettings, report: Report | None) -> tuple[float, float | None]:
        if self.tuning.folds > 1:
            loss, fitted = self._folded(settings, report)
        else:
            fitted = self.trainer.fit(settings, report)
            loss = self.trainer.loss(fitted)
            if self.kept is None or loss < self.kept[0]:
                self.kept = (loss, settings, fitted)
        latency = self.tuning.latency
        return loss, one_row_ms(fitted, self.trainer.task.validation, latency) if latency else None

    def fitted(self, settings: FamilySettings) -> Fitted:
        """The fit of settings on the whole training window: the one that was kept, or the same again."""
        return self.kept[2] if self.kept and self.kept[1] == settings else self.trainer.fit(settings)

    def _folded(self, settings: FamilySettings, report: Report | None) -> tuple[float, Fitted]:
        """Mean loss over the folds, and the fit of the last one; reports the mean after each."""
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


def one_row_ms(fitted: Fitted, frame: pd.DataFrame, latency: Latency) -> float:
    """95th percentile of the time that the ONNX graph takes for one row, in one thread."""
    graph = to_onnx(fitted, Uncalibrated())
    return Scorer(graph, fitted.inputs, threads=1).row_latency_ms(frame, latency.calls)


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
        journal = self.store.read_json(self.uri)
        if not isinstance(journal, dict) or journal.get("key") != self.key:
            return []
        return [Record.model_validate(record) for record in journal["records"]]

    def write(self, records: Sequence[Record]) -> None:
        listed = [record.model_dump(mode="json") for record in records]
        self.store.write_json(self.uri, {"key": self.key, "records": listed})

    def close(self) -> None:
        self.store.delete(self.uri)


def search_key(trainer: Trainer, space: Space, frames: Mapping[str, str]) -> str:
    """A hash of what decides a search but for its budget: settings, data, seed, libraries, and the code of training.

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
    """Records of up to `budget` trials; those in the journal are taken as they are.

    No trial starts when `tuning.minutes` have passed, those of trials on record among them; one always runs.
    """
    name, minutes, records = space.name, space.tuning.minutes, journal.read()[:budget]
    if records:
        log.info("%s: goes on after %d recorded trials", name, len(records))
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
