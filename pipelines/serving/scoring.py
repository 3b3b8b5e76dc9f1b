"""Scores of one version for many requests; what fails is evidence about the version, and not the clients' problem."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.artifacts.scorer import Scorer
from pipelines.failure import trace
from pipelines.redaction import redact
from pipelines.serving.features import Arrays, FeatureLayout, RequestFeatures
from pipelines.serving.routing import LoadedModel

log = logging.getLogger(__name__)
Further = Mapping[str, float | None]  # the further outputs of a request, by name


@dataclass(frozen=True)
class VersionScores:
    """The scores of one version, one for each request.

    Attributes:
        scores: None where it failed.
        errors: by position, where it failed.
        milliseconds: of the run that scored them all; None where there was none.
        unread: whether its inputs could not be made of these requests.
        further: its further outputs; None where it has none. Those of a request on which it failed mean nothing.
    """

    scores: Sequence[float | None]
    errors: Mapping[int, str]
    milliseconds: float | None = None
    unread: bool = False
    further: Sequence[Further] | None = None

    @classmethod
    def none(cls, rows: int, error: str) -> VersionScores:
        """Of a version that failed on all of so many requests."""
        return cls([None] * rows, dict.fromkeys(range(rows), error))


def score(version: str, loaded: LoadedModel, layout: FeatureLayout, features: RequestFeatures) -> VersionScores:
    """Score with one version. If a batch fails, its requests are scored one by one."""
    rows = features.rows
    if loaded.scorer is None or loaded.needs is None:
        return VersionScores.none(rows, f"not loaded: {loaded.problem}")
    arrays: Arrays | None = None
    further: Sequence[Further] | None = None
    began = time.perf_counter()
    try:
        arrays = layout.arrays(version, features)
        scores, further = _check_outputs(loaded.scorer, arrays)
    except Exception as error:
        log.error("model %s failed to score %d rows: %s", loaded.uri, rows, trace(error))
        scores = [_error_text(error)] * rows
        if arrays is not None and rows > 1:
            scores, further = _one_by_one(loaded.scorer, arrays)
    milliseconds = (time.perf_counter() - began) * 1000
    errors = {n: score for n, score in enumerate(scores) if isinstance(score, str)}
    numbers = [score if isinstance(score, float) else None for score in scores] if errors else scores
    return VersionScores(numbers, errors, milliseconds, arrays is None, further)  # type: ignore[arg-type]  # all are numbers without errors


def _check_outputs(scorer: Scorer, arrays: Arrays) -> tuple[Sequence[float | str], Sequence[Further] | None]:
    """For each row a probability, or a message about what is wrong; and its further outputs, where there are any."""
    if not scorer.further:
        return _check_scores(scorer.score_arrays(*arrays).reshape(len(arrays[0]))), None
    scores, outputs = scorer.score_all_arrays(*arrays)
    checked = ([one if 0 <= one <= 1 else None for one in row] for row in outputs.tolist())
    return _check_scores(scores), [dict(zip(scorer.further, row, strict=True)) for row in checked]


def _check_scores(scores: NDArray[np.float64]) -> Sequence[float | str]:
    if ((scores >= 0) & (scores <= 1)).all():
        return list[float | str](scores.tolist())
    return [
        score if math.isfinite(score) and 0 <= score <= 1 else f"its score is {score}, no probability"
        for score in scores.tolist()
    ]


def _one_by_one(scorer: Scorer, arrays: Arrays) -> tuple[Sequence[float | str], Sequence[Further] | None]:
    scores: list[float | str] = []
    further: list[Further] = []
    for n in range(len(arrays[0])):
        try:
            score, outputs = _check_outputs(scorer, (arrays[0][n : n + 1], arrays[1][n : n + 1]))
        except Exception as error:
            score, outputs = [_error_text(error)], None
        scores += score
        further += outputs or [{}]
    return scores, further if scorer.further else None


def _error_text(error: Exception) -> str:
    return redact(str(error) or type(error).__name__)[:500]
