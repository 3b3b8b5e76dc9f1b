"""Fit one model family, tuned by validation log loss, and write it as one ONNX graph with its card."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pipelines.errors import CheckFailed, InvalidInput
from pipelines.steps import RunName, StepModel

if TYPE_CHECKING:
    from pipelines.context import Context

log = logging.getLogger(__name__)

AGREEMENT = 1e-5  # largest difference allowed between the library's score and the graph's


class Inputs(StepModel):
    family: str = Field(description="model family, a section of `training` in params.yaml")
    training_set_uri: str = Field(description="folder of the training set")
    run: RunName = Field(description="the caller's name for this training run, part of every path it writes")
    trials: int | None = Field(None, ge=1, description="settings to try; params.yaml's by default")
    seed: int | None = Field(None, ge=0, description="seed of every random draw; params.yaml's by default")


class Trial(StepModel):
    params: dict[str, Any]
    validation_log_loss: float


class Outputs(StepModel):
    family: str
    model_uri: str
    sha256: str
    trials: list[Trial]
    best_trial: int


def run(inputs: Inputs, context: Context) -> Outputs:
    import hashlib

    import numpy as np

    from pipelines.metrics.scores import measure
    from pipelines.scorer import CARD, GRAPH, Model, Scorer, sealed
    from pipelines.training.calibration import Uncalibrated
    from pipelines.training.card import model_card
    from pipelines.training.cleaning import fit_cleaning
    from pipelines.training.families import load_family
    from pipelines.training.frames import model_inputs, numeric_inputs, read_frame, read_manifest
    from pipelines.training.onnx_graph import to_onnx
    from pipelines.training.search import best_trial, draw
    from pipelines.usecase import LABEL

    family = load_family(inputs.family)
    declared = getattr(context.params.training, inputs.family)
    seed = context.params.training.seed if inputs.seed is None else inputs.seed
    store = context.data.store
    manifest = read_manifest(store, inputs.training_set_uri)
    columns = model_inputs(manifest)
    train = read_frame(store, inputs.training_set_uri, "train", manifest)
    validation = read_frame(store, inputs.training_set_uri, "validation", manifest)
    if train[LABEL].nunique() < 2:
        raise InvalidInput(f"{inputs.training_set_uri}: every training label is the same; widen the training window")

    numbers = numeric_inputs(train, columns)
    cleaning = fit_cleaning(numbers, columns.numeric, inputs.family, context.params.cleaning)
    cleaned = {
        "columns": cleaning.facts(),
        "counts": {"train": cleaning.count(numbers), "validation": cleaning.count(numeric_inputs(validation, columns))},
    }

    calibration = Uncalibrated()
    trials: list[Trial] = []
    fits = []
    budget = inputs.trials or context.params.training.trials
    for number in range(budget):
        settings = draw(declared, number, seed)
        fits.append(family.fit(train, validation, columns, cleaning, settings, seed))
        loss = measure(validation[LABEL], calibration.apply(fits[-1].log_odds(validation)))["log_loss"]
        trials.append(Trial(params=settings.model_dump(mode="json", exclude={"search"}), validation_log_loss=loss))
        log.info("%s, trial %d of %d: validation log loss %.5f", inputs.family, number + 1, budget, loss)
    best = best_trial([trial.validation_log_loss for trial in trials])

    graph = to_onnx(fits[best], calibration)
    digest = hashlib.sha256(graph).hexdigest()
    card = model_card(
        inputs.family,
        columns,
        cleaned,
        digest,
        trials[best].params,
        seed,
        inputs.training_set_uri,
        manifest,
        family.LIBRARIES,
    )
    uri = context.data.uri("models", inputs.run, inputs.family)
    native = calibration.apply(fits[best].log_odds(validation))
    apart = np.abs(Scorer(Model(uri, card, graph)).score(validation) - native).max()
    if not apart <= AGREEMENT:
        raise CheckFailed(
            f"{inputs.family}: the ONNX graph is {apart:.2g} away from the fitted model (at most {AGREEMENT:g})"
        )

    store.write_bytes(f"{uri}/{GRAPH}", graph)
    store.write_json(f"{uri}/{CARD}", sealed(card))
    return Outputs(family=inputs.family, model_uri=uri, sha256=digest, trials=trials, best_trial=best)
