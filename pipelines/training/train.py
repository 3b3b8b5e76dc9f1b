"""Fit one model family, tuned by validation log loss, and write it as one ONNX graph with its model.json."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import Field

from pipelines.artifacts.trials import Trial
from pipelines.steps import RunName, StepModel

if TYPE_CHECKING:
    from pathlib import Path

    from pipelines.artifacts.manifest import Manifest
    from pipelines.artifacts.model import Model
    from pipelines.artifacts.provenance import Provenance
    from pipelines.context import Context
    from pipelines.store import Store
    from pipelines.training.distillation import Lesson
    from pipelines.training.search import Record
    from pipelines.training.trainer import Trainer

log = logging.getLogger(__name__)


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
    """Train the teacher first if the family learns from another family, then the family."""
    origin = origin_of(inputs, context)  # before any fit, so that it is about the code that runs
    return train_family(inputs, context, origin, resolve_lesson(inputs, context))[0]


def resolve_lesson(inputs: Inputs, context: Context) -> Lesson | None:
    """The lesson of a family's declared teacher; a teacher that is a family is trained here, in one trial.

    The teacher is not refitted on the validation window, on which its pupil is stopped, calibrated and selected.

    Raises:
        InvalidInput: if the teacher has learnt from the pupil's validation or test window, or reads other inputs.
    """
    from pipelines.artifacts.manifest import Manifest
    from pipelines.artifacts.model import ModelRef, read_model
    from pipelines.artifacts.scorer import ModelScorer
    from pipelines.params.training import FAMILIES
    from pipelines.training.distillation import Lesson, require_fellow

    store, params = context.data.store, context.params
    distil = params.training.compression_of(inputs.family).distil
    if distil is None:
        return None
    if distil.teacher in FAMILIES:
        run = f"{inputs.run}.teaches.{inputs.family}"
        teaching = inputs.model_copy(update={"family": distil.teacher, "run": run, "trials": 1})
        training = params.training.model_copy(update={"refit": False})
        plain = replace(context, params=params.model_copy(update={"training": training}))
        model = train_family(teaching, plain, origin_of(teaching, plain))[1]
    else:
        model = read_model(store, ModelRef(distil.teacher))
    require_fellow(teacher := ModelScorer.of(model), Manifest.read(store, inputs.training_set_uri))
    return Lesson(teacher, distil.temperature, distil.alpha)


def train_family(
    inputs: Inputs, context: Context, origin: Provenance, lesson: Lesson | None = None
) -> tuple[Outputs, Model]:
    """Search, finish and write one family.

    Args:
        origin: the result of `origin_of` before the fit.
    """
    import shutil

    from pipelines.artifacts.manifest import Manifest
    from pipelines.artifacts.model import Model
    from pipelines.artifacts.trials import Trials
    from pipelines.training.card import Trained, describe
    from pipelines.training.estimator import finish, require_agreement
    from pipelines.training.onnx_graph import to_onnx
    from pipelines.training.search import Space, best_trial, pareto_front
    from pipelines.training.tuning import Journal, TrialObjective, search, search_key

    name, store, params = inputs.family, context.data.store, context.params
    training, manifest = params.training, Manifest.read(store, inputs.training_set_uri)
    trainer = read_trainer(inputs, context, manifest, lesson)

    space = Space(name, training.settings_of(name), training.tuning, trainer.task.seed)
    key = search_key(trainer, space, manifest.files)
    journal = Journal(store, context.data.uri("tuning", inputs.run, f"{name}.json"), key)
    objective = TrialObjective(trainer, params)
    records = search(space, inputs.trials or training.trials, objective, journal)
    best = best_trial(records, training.tuning.latency.budget_ms if training.tuning.latency else None)
    settings = space.settings(records[best])

    estimator = finish(trainer, settings, objective.fit(settings), params)
    graph = to_onnx(estimator.fitted, estimator.calibration)
    trained = Trained(trainer, records[best].params, estimator, graph, inputs.training_set_uri, manifest)
    model = Model(context.data.uri("models", inputs.run, name), describe(trained), graph)
    require_agreement(model, estimator, trainer.task.validation)

    trials = [trial_of(record) for record in records]
    front = {"pareto_front": tuple(pareto_front(records))} if training.tuning.latency else {}
    Trials(trials=tuple(trials), best_trial=best, **front).write(store, model.uri)
    write_model(store, model, origin)
    journal.close()
    shutil.rmtree(work_folder(inputs, context), ignore_errors=True)
    return Outputs(family=name, model_uri=model.uri, sha256=model.sha256, trials=trials, best_trial=best), model


def origin_of(inputs: Inputs, context: Context) -> Provenance:
    """The provenance of a family that is trained now: code, params and machine."""
    from pipelines.artifacts.provenance import Provenance
    from pipelines.training.families import load_family
    from pipelines.training.machine import machine_of

    return Provenance.now(context.params.model_dump(mode="json"), machine_of(load_family(inputs.family)))


def work_folder(inputs: Inputs, context: Context) -> Path:
    """The folder of checkpoints until the model is written."""
    return context.settings.root / "work" / "training" / context.usecase.name / inputs.run / inputs.family


def read_trainer(inputs: Inputs, context: Context, manifest: Manifest, lesson: Lesson | None) -> Trainer:
    """The trainer of a family on a training set.

    Raises:
        InvalidInput: if every training label is the same, or `cleaning` names a column that is not an input.
    """
    from pipelines.training.cleaning import fit_cleaning
    from pipelines.training.families import load_family, reads_auxiliary
    from pipelines.training.frames import numeric_inputs, read_frames
    from pipelines.training.tasks import Task
    from pipelines.training.trainer import Trainer

    name, params, columns = inputs.family, context.params, manifest.model_inputs.inputs
    family, rules = load_family(name), params.cleaning
    frames = read_frames(context.data.store, inputs.training_set_uri, manifest, reads_auxiliary(family))
    task = Task(
        frames,
        columns,
        cleaning=fit_cleaning(numeric_inputs(frames.train, columns), columns.numeric, name, rules),
        seed=params.training.seed if inputs.seed is None else inputs.seed,
        compression=params.training.compression_of(name),
        lesson=lesson,
        checkpoints=work_folder(inputs, context),
    )
    return Trainer(name, family, rules, task)


def trial_of(record: Record) -> Trial:
    return Trial(
        params=record.params, validation_log_loss=record.loss, state=record.state, latency_ms=record.latency_ms
    )


def write_model(store: Store, model: Model, origin: Provenance) -> None:
    """Write a model and its provenance; model.json last, since a folder without it is not a model.

    If the same model is there, it keeps its provenance, even if other code trained it now: it may be registered.
    """
    from pipelines.artifacts.card import GRAPH

    if not (store.exists(origin.place(model.uri)) and model.card.lies_in(store, model.uri)):
        origin.write(store, model.uri)
    store.write_bytes(f"{model.uri}/{GRAPH}", model.graph)
    model.card.write(store, model.uri)
