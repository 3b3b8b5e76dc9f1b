"""model.json of a family as it was trained."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version

from pydantic import JsonValue

from pipelines.artifacts.card import GRAPH, CardInputs, ModelCard, Threshold, TrainedOn
from pipelines.artifacts.manifest import Manifest
from pipelines.training.compression import compression_facts
from pipelines.training.estimator import Estimator
from pipelines.training.onnx_graph import further_of
from pipelines.training.trainer import Trainer


@dataclass(frozen=True)
class Trained:
    """A family as it was trained.

    Attributes:
        params: the settings of the best trial.
        graph: the estimator as ONNX.
        manifest: of the training set.
    """

    trainer: Trainer
    params: Mapping[str, JsonValue]
    estimator: Estimator
    graph: bytes
    training_set_uri: str
    manifest: Manifest


def describe(trained: Trained) -> ModelCard:
    """The content of model.json.

    Raises:
        CheckFailed: if compression changes scores more than allowed.
    """
    trainer, task, estimator = trained.trainer, trained.trainer.task, trained.estimator
    compression = compression_facts(estimator.fitted, task, estimator.calibration)
    libraries = ("numpy", "onnx", *trainer.family.LIBRARIES)
    return ModelCard(
        family=trainer.name,
        inputs=CardInputs.of(task.inputs),
        cleaning=trainer.cleaning_facts(),
        calibration=estimator.calibration_facts,
        threshold=Threshold(value=estimator.threshold, costs=estimator.costs.model_dump()),
        sha256={GRAPH: sha256(trained.graph).hexdigest()},
        params=dict(trained.params),
        refit=estimator.refit,
        seed=task.seed,
        training_set=TrainedOn(uri=trained.training_set_uri, **dict(trained.manifest.origin)),
        environment={"python": platform.python_version(), **{name: version(name) for name in libraries}},
        **({"compression": compression} if compression.model_fields_set else {}),
        **({"further": further} if (further := further_of(estimator.fitted)) else {}),
    )
