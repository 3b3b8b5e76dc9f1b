"""The effects of `training.compression`: on the fit, on the fitted network, and in model.json."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pipelines.artifacts.card import CompressionFacts, DistilFacts, PruneFacts, QuantizeFacts
from pipelines.artifacts.scorer import ModelScorer
from pipelines.errors import CheckFailed
from pipelines.params.compression import Compression, Distil
from pipelines.training.calibration import Calibration
from pipelines.training.families import FittedModel
from pipelines.training.onnx_graph import Graph
from pipelines.training.tasks import Task


def compress(fitted: FittedModel, compression: Compression) -> FittedModel:
    """The estimator as it will be served: it is scored, measured and calibrated in its compressed form."""
    if not compression.quantize:
        return fitted
    from pipelines.training.quantization import Quantized

    return Quantized(fitted)


def compression_facts(fitted: FittedModel, task: Task, calibration: Calibration) -> CompressionFacts:
    """The compression and its cost for model.json; empty without compression.

    Raises:
        CheckFailed: if quantizing changes a calibrated score of the validation window by more than `max_difference`.
    """
    compression = task.compression
    prune = quantize = distil = None
    if compression.prune:
        prune = _prune_facts(fitted, compression)
    if compression.quantize:
        quantize = _quantize_facts(fitted, compression, calibration, task.validation)
        if not quantize.difference <= compression.max_difference:
            raise CheckFailed(
                f"quantizing changes a score or further output of the validation window by {quantize.difference:.3g}, "
                f"more than max_difference ({compression.max_difference:g}); allow more, or do not quantize"
            )
    if task.lesson and compression.distil and isinstance(task.lesson.teacher, ModelScorer):
        distil = _distil_facts(task.lesson.teacher, compression.distil)
    parts = {"prune": prune, "quantize": quantize, "distil": distil}
    return CompressionFacts(**{name: part for name, part in parts.items() if part})


def _prune_facts(fitted: Any, compression: Compression) -> PruneFacts:
    from pipelines.training.pruning import zero_share

    network = getattr(fitted, "fitted", fitted).network
    return PruneFacts(
        share=compression.prune, fine_tune_epochs=compression.fine_tune_epochs, zero_share=zero_share(network)
    )


def _quantize_facts(
    fitted: Any, compression: Compression, calibration: Calibration, validation: pd.DataFrame
) -> QuantizeFacts:
    from pipelines.training.quantization import quantize_products

    graph = Graph()
    fitted.fitted.body(graph)
    scores, exact = (calibration.apply(f.log_odds(validation)) for f in (fitted, fitted.fitted))
    differences = np.abs(scores - exact)
    further = np.abs(fitted.further_outputs(validation) - fitted.fitted.further_outputs(validation))
    return QuantizeFacts(
        max_difference=compression.max_difference,
        products=quantize_products(graph),
        difference=float(max(differences.max(), further.max(initial=0))),
        mean_difference=float(differences.mean()),
    )


def _distil_facts(teacher: ModelScorer, distil: Distil) -> DistilFacts:
    model = teacher.model
    return DistilFacts(
        teacher=distil.teacher,
        temperature=distil.temperature,
        alpha=distil.alpha,
        teacher_family=model.card.family,
        teacher_sha256=model.sha256,
    )
