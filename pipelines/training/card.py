"""The card of a model: everything that decided what it is, and nothing that differs between equal runs."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

from pipelines.scorer import GRAPH
from pipelines.usecase import ModelInputs

CARRIED = ("data_version", "feature_service", "registry_hash", "as_of", "windows", "sha256")


def model_card(
    family: str,
    inputs: ModelInputs,
    cleaning: Mapping[str, Any],
    sha256: str,
    params: Mapping[str, Any],
    seed: int,
    training_set_uri: str,
    manifest: Mapping[str, Any],
    libraries: Iterable[str],
) -> dict[str, Any]:
    """model.json, as JSON-able values.

    Args:
        cleaning: what was fitted, by input (`columns`), and what it changed in the frames of training (`counts`).
    """
    return {
        "family": family,
        "inputs": {"numeric": list(inputs.numeric), "categorical": list(inputs.categorical)},
        "cleaning": dict(cleaning),
        "sha256": {GRAPH: sha256},
        "params": dict(params),
        "seed": seed,
        "training_set": {"uri": training_set_uri, **{name: manifest[name] for name in CARRIED}},
        "environment": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "onnx", *libraries)},
        },
    }
