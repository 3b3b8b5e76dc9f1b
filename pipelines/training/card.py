"""model.json: everything that decided what a model is, and nothing that differs between equal runs.

The model card of a registered version, which people read, is made in `pipelines.registration`.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

from pipelines.errors import CorruptData
from pipelines.manifest import CARRIED
from pipelines.scorer import GRAPH, Model, card_inputs
from pipelines.usecase import ModelInputs


def describe(
    family: str,
    inputs: ModelInputs,
    cleaning: Mapping[str, Any],
    calibration: Mapping[str, Any],
    threshold: Mapping[str, Any],
    sha256: str,
    params: Mapping[str, Any],
    refit: bool,
    seed: int,
    training_set_uri: str,
    manifest: Mapping[str, Any],
    libraries: Iterable[str],
) -> dict[str, Any]:
    """What model.json says, as JSON-able values.

    Args:
        cleaning: what was fitted, by input (`columns`), and what it changed in the frames of training (`counts`).
        calibration: what was asked for, the method, its parameters, and the losses that chose it.
        refit: whether the fit is of training and validation rows together; calibration and threshold never are.
        threshold: the score from which an alarm costs least on validation (`value`), and the `costs` behind it.
    """
    return {
        "family": family,
        "inputs": card_inputs(inputs),
        "cleaning": dict(cleaning),
        "calibration": dict(calibration),
        "threshold": dict(threshold),
        "sha256": {GRAPH: sha256},
        "params": dict(params),
        "refit": refit,
        "seed": seed,
        "training_set": {"uri": training_set_uri, **{name: manifest[name] for name in CARRIED}},
        "environment": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "onnx", *libraries)},
        },
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
