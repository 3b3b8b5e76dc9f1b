"""model.json: everything that decided what a model is, and nothing that differs between equal runs.

The model card of a registered version, which people read, is made in `pipelines.registration`.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from typing import Any

from pydantic import JsonValue

from pipelines.errors import CorruptData
from pipelines.manifest import CARRIED
from pipelines.scorer import GRAPH, Model, card_inputs
from pipelines.training.compression import compression_facts
from pipelines.training.estimator import Estimator
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
    manifest: Mapping[str, Any]


def describe(trained: Trained) -> dict[str, Any]:
    """What model.json says, as JSON-able values.

    Raises:
        CheckFailed: if compression cost more than it may.
    """
    trainer, task, estimator = trained.trainer, trained.trainer.task, trained.estimator
    compression = compression_facts(estimator.fitted, task, estimator.calibration)
    libraries = ("numpy", "onnx", *trainer.family.LIBRARIES)
    return {
        "family": trainer.name,
        "inputs": card_inputs(task.inputs),
        "cleaning": trainer.cleaning_facts(),
        "calibration": estimator.calibration_facts,
        "threshold": {"value": estimator.threshold, "costs": estimator.costs.model_dump()},
        "sha256": {GRAPH: sha256(trained.graph).hexdigest()},
        "params": dict(trained.params),
        "refit": estimator.refit,
        "seed": task.seed,
        "training_set": {"uri": trained.training_set_uri, **{name: trained.manifest[name] for name in CARRIED}},
        "environment": {"python": platform.python_version(), **{name: version(name) for name in libraries}},
        **({"compression": compression} if compression else {}),
    }


def threshold_of(model: Model) -> float:
    """The score from which a model alarms.

    Raises:
        CorruptData: if its model.json does not tell.
    """
    try:
        return float(model.card["threshold"]["value"])
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptData(f"{model.uri}/model.json tells no threshold ({error!r}); train the model again") from None
