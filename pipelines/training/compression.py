"""What `training.compression` asks of a family: handed to its fit, done to the fitted network, told in model.json."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pipelines.errors import CheckFailed
from pipelines.params.compression import Compression
from pipelines.training.calibration import Calibration
from pipelines.training.distillation import Lesson
from pipelines.training.families import Fitted
from pipelines.training.onnx_graph import Graph


def compressed(fitted: Fitted, asked: Compression) -> Fitted:
    """The estimator as it will be served: what it scores, is judged by and calibrated on, is the compressed network."""
    if not asked.quantize:
        return fitted
    from pipelines.training.quantization import Quantized

    return Quantized(fitted)


def compression_facts(
    fitted: Fitted,
    asked: Compression,
    lesson: Lesson | None,
    calibration: Calibration,
    validation: pd.DataFrame,
) -> dict[str, Any]:
    """What was done and what it cost, for model.json; empty where nothing was.

    Raises:
        CheckFailed: if quantizing moved a calibrated score of the validation window by more than `max_difference`.
    """
    facts: dict[str, Any] = {}
    if asked.prune:
        facts["prune"] = {"share": asked.prune, "fine_tune_epochs": asked.fine_tune_epochs, **_pruned(fitted)}
    if asked.quantize:
        facts["quantize"] = {"max_difference": asked.max_difference, **_quantized(fitted, calibration, validation)}
        if not facts["quantize"]["difference"] <= asked.max_difference:
            raise CheckFailed(
                f"quantizing moves a validation score by {facts['quantize']['difference']:.3g}, more than "
                f"max_difference ({asked.max_difference:g}); allow more, or do not quantize"
            )
    if lesson and asked.distil:
        teacher = lesson.teacher.model
        facts["distil"] = {
            **asked.distil.model_dump(),
            "teacher_family": teacher.card.family,
            "teacher_sha256": teacher.sha256,
        }
    return facts


def _pruned(fitted: Any) -> dict[str, Any]:
    from pipelines.training.pruning import zero_share

    return {"zero_share": zero_share(getattr(fitted, "fitted", fitted).network)}


def _quantized(fitted: Any, calibration: Calibration, validation: pd.DataFrame) -> dict[str, Any]:
    from pipelines.training.quantization import quantize_products

    graph = Graph()
    fitted.fitted.body(graph)
    scores, exact = (calibration.apply(f.log_odds(validation)) for f in (fitted, fitted.fitted))
    apart = np.abs(scores - exact)
    return {
        "products": quantize_products(graph),
        "difference": float(apart.max()),
        "mean_difference": float(apart.mean()),
    }
