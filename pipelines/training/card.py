"""model.json of a model that was trained: everything that decided what it is."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

from pipelines.artifacts.card import GRAPH, Calibrated, CardCleaning, CardInputs, ModelCard, Threshold, TrainedOn
from pipelines.artifacts.manifest import Manifest
from pipelines.usecase import ModelInputs


def describe(
    family: str,
    inputs: ModelInputs,
    cleaning: CardCleaning,
    calibration: Calibrated,
    threshold: Threshold,
    sha256: str,
    params: Mapping[str, Any],
    refit: bool,
    seed: int,
    training_set_uri: str,
    manifest: Manifest,
    libraries: Iterable[str],
    compression: Mapping[str, dict[str, Any]],
) -> ModelCard:
    """What model.json says.

    Args:
        cleaning: what was fitted, by input (`columns`), and what it changed in the frames of training (`counts`).
        calibration: what was asked for, the method, its parameters, and the losses that chose it.
        refit: whether the fit is of training and validation rows together; calibration and threshold never are.
        threshold: the score from which an alarm costs least on validation (`value`), and the `costs` behind it.
    """
    return ModelCard(
        family=family,
        inputs=CardInputs.of(inputs),
        cleaning=cleaning,
        calibration=calibration,
        threshold=threshold,
        sha256={GRAPH: sha256},
        params=dict(params),
        refit=refit,
        seed=seed,
        training_set=TrainedOn(uri=training_set_uri, **dict(manifest.origin)),
        environment={
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "onnx", *libraries)},
        },
        **({"compression": dict(compression)} if compression else {}),
    )
