"""Fit one model family, tuned by validation log loss, and write it as one ONNX graph with its model.json."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import Field

from pipelines.artifacts.trials import Trial
from pipelines.errors import CheckFailed
from pipelines.steps import RunName, StepModel

if TYPE_CHECKING:
    import pandas as pd

    from pipelines.artifacts.card import ModelCard
    from pipelines.artifacts.model import Model
    from pipelines.artifacts.provenance import Provenance
    from pipelines.context import Context
    from pipelines.store import Store
    from pipelines.training.calibration import Calibration
    from pipelines.training.distillation import Lesson
    from pipelines.training.families import Fitted

log = logging.getLogger(__name__)

AGREEMENT = 1e-5  # largest difference allowed between the library's score and the graph's


class Inputs(StepModel):
    family: str = Field(description="model family, a section of `training` in params.yaml")
    training_set_uri: str = Field(description="folder of the training set")
    run: RunName = Field(description="the caller's name for this training run, part of every path it writes")
    trials: int | None = Field(None, ge=1, description="settings to try; params.yaml's by default")
    seed: int | None = Field(None, ge=0, description="seed of every random draw; params.yaml's by default")


class Outputs(StepModel):
    family: str
    model_uri: str
    sha256: str
    trials: list[Trial]
    best_trial: int


def run(inputs: Inputs, context: Context) -> Outputs:
    return trained(inputs, context)[0]


def trained(inputs: Inputs, context: Context) -> tuple[Outputs, Model]:
    import shutil

    from pipelines.artifacts.card import Calibrated, Threshold
    from pipelines.artifacts.manifest import Manifest
    from pipelines.artifacts.provenance import Provenance
    from pipelines.artifacts.trials import Trials
    from pipelines.metrics.costs import best_threshold
    from pipelines.training.calibration import fit_calibration
    from pipelines.training.card import describe
    from pipelines.training.compression import compression_facts
    from pipelines.training.families import load_family
    from pipelines.training.machine import machine_of
    from pipelines.training.onnx_graph import to_onnx
    from pipelines.training.search import best_trial, pareto_front
    from pipelines.training.tasks import cleaned, read_task
    from pipelines.training.tuning import Journal, Judge, search, search_key
    from pipelines.usecase import DAY, LABEL

    name, store, params = inputs.family, context.data.store, context.params
    family, asked = load_family(name), params.training
    made = Provenance.now(
        params.model_dump(mode="json"), machine_of(family)
    )  # before the fit: this code, not a later one
    declared, tuning = getattr(asked, name), asked.tuning
    seed = asked.seed if inputs.seed is None else inputs.seed
    manifest = Manifest.read(store, inputs.training_set_uri)
    work = context.settings.root / "work" / "training" / context.usecase.name / inputs.run / name
    lesson = lesson_of(inputs, context)
    task = read_task(name, inputs.training_set_uri, manifest, params, seed, store, work, lesson)

    judge = Judge(task, tuning, params.splits.embargo_days)
    key = search_key(task, declared, tuning, manifest.files)
    journal = Journal(store, context.data.uri("tuning", inputs.run, f"{name}.json"), key)
    records = search(declared, tuning, seed, inputs.trials or asked.trials, judge, journal, name)
    best = best_trial(records, tuning.latency.budget_ms if tuning.latency else None)
    settings = type(declared).model_validate({**records[best].params, "search": declared.search})
    fitted = judge.fitted(settings)

    held = task.frames.validation
    log_odds, labels = fitted.log_odds(held), held[LABEL].to_numpy()
    calibration, calibrated = fit_calibration(asked.calibration, log_odds, labels, held[DAY].to_numpy())
    threshold = best_threshold(labels, calibration.apply(log_odds), params.costs)
    if asked.refit:
        fitted = task.refit(settings, fitted)  # calibration and threshold stay: of it, no row of these is out of sample
    graph = to_onnx(fitted, calibration)
    card = describe(
        name,
        task.inputs,
        cleaned(task),
        Calibrated(**calibrated),
        Threshold(value=threshold, costs=params.costs.model_dump()),
        store.sha256(graph),
        records[best].params,
        asked.refit,
        seed,
        inputs.training_set_uri,
        manifest,
        family.LIBRARIES,
        compression_facts(fitted, task.compression, lesson, calibration, held),
    )
    model = agreeing(context.data.uri("models", inputs.run, name), card, graph, fitted, calibration, held)

    trials = [
        Trial(params=r.params, validation_log_loss=r.loss, state=r.state, latency_ms=r.latency_ms) for r in records
    ]
    front = {"pareto_front": tuple(pareto_front(records))} if tuning.latency else {}
    Trials(trials=tuple(trials), best_trial=best, **front).write(store, model.uri)
    keep(store, model, made)
    journal.close()
    shutil.rmtree(work, ignore_errors=True)
    return Outputs(family=name, model_uri=model.uri, sha256=model.sha256, trials=trials, best_trial=best), model


def agreeing(
    uri: str, card: ModelCard, graph: bytes, fitted: Fitted, calibration: Calibration, frame: pd.DataFrame
) -> Model:
    """The model of a graph that scores a frame as the library does that fitted it.

    Raises:
        CheckFailed: if a score is further than AGREEMENT away, or not a number.
    """
    import numpy as np

    from pipelines.artifacts.model import Model
    from pipelines.artifacts.scorer import ModelScorer

    model = Model(uri, card, graph)
    apart = np.abs(ModelScorer.of(model).score(frame) - calibration.apply(fitted.log_odds(frame))).max()
    if not apart <= AGREEMENT:
        raise CheckFailed(
            f"{card.family}: the ONNX graph is {apart:.2g} away from the fitted model (at most {AGREEMENT:g})"
        )
    return model


def keep(store: Store, model: Model, made: Provenance) -> None:
    """Write a model and how it was made; model.json last, since a folder without one is no model.

    The same model made again, by other code perhaps, keeps the provenance it has: it may be registered.
    """
    from pipelines.artifacts.card import GRAPH

    card, origin = model.card.place(model.uri), made.place(model.uri)
    if not (store.exists(origin) and store.exists(card) and store.read_json(card) == model.card.sealed()):
        made.write(store, model.uri)
    store.write_bytes(f"{model.uri}/{GRAPH}", model.graph)
    model.card.write(store, model.uri)


def lesson_of(inputs: Inputs, context: Context) -> Lesson | None:
    """That of the teacher which is declared for a family. A teacher that is a family is trained first, in one trial.

    It is not fitted again on the validation window, by which its pupil is stopped, calibrated and chosen.
    """
    from pipelines.artifacts.manifest import Manifest
    from pipelines.artifacts.model import ModelRef, read_model
    from pipelines.artifacts.scorer import ModelScorer
    from pipelines.params.training import FAMILIES
    from pipelines.training.distillation import Lesson, require_fellow

    store, asked = context.data.store, context.params.training.compression_of(inputs.family).distil
    if asked is None:
        return None
    if asked.teacher in FAMILIES:
        first = {"family": asked.teacher, "run": f"{inputs.run}.teaches.{inputs.family}", "trials": 1}
        params = context.params
        plain = params.model_copy(update={"training": params.training.model_copy(update={"refit": False})})
        model = trained(inputs.model_copy(update=first), replace(context, params=plain))[1]
    else:
        model = read_model(store, ModelRef(asked.teacher))
    require_fellow(teacher := ModelScorer.of(model), Manifest.read(store, inputs.training_set_uri))
    return Lesson(teacher, asked.temperature, asked.alpha)
