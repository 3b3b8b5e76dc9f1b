"""Scores of one version for many requests; what fails is evidence about the version, and not the clients' problem."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.artifacts.scorer import Scorer
from pipelines.failure import trace
from pipelines.redaction import redact
from pipelines.serving.features import Arrays, Features, Layout
from pipelines.serving.routing import LoadedModel

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class VersionScores:
    """The scores of one version, one for each request.

    Attributes:
        scores: None where it failed.
        errors: empty where it did not fail.
        milliseconds: of the run that scored them all; None where there was none.
        arrays: its inputs; None where there were none.
    """

    scores: Sequence[float | None]
    errors: Sequence[str]
    milliseconds: float | None = None
    arrays: Arrays | None = None


def score(version: str, loaded: LoadedModel, layout: Layout, features: Features) -> VersionScores:
    """Score with one version. If a batch fails, its requests are scored one by one."""
    rows = features.rows
    if loaded.scorer is None or loaded.needs is None:
        return VersionScores([None] * rows, [f"not loaded: {loaded.problem}"] * rows)
    arrays: Arrays | None = None
    began = time.perf_counter()
    try:
        arrays = layout.arrays(version, features)
        scores = _check_scores(loaded.scorer, arrays)
    except Exception as error:
        log.error("model %s failed to score %d rows: %s", loaded.uri, rows, trace(error))
        alone = arrays is None or rows == 1
        scores = [_error_text(error)] * rows if alone or arrays is None else _one_by_one(loaded.scorer, arrays)
    milliseconds = (time.perf_counter() - began) * 1000
    numbers = [score if isinstance(score, float) else None for score in scores]
    errors = ["" if isinstance(score, float) else score for score in scores]
    return VersionScores(numbers, errors, milliseconds, arrays)


def _check_scores(scorer: Scorer, arrays: Arrays) -> list[float | str]:
    """A probability for each row, or a message about what is wrong."""
    return [
        score if math.isfinite(score) and 0 <= score <= 1 else f"its score is {score}, no probability"
        for score in scorer.score_arrays(*arrays).reshape(len(arrays[0])).tolist()
    ]


def _one_by_one(scorer: Scorer, arrays: Arrays) -> list[float | str]:
    scores: list[float | str] = []
    for n in range(len(arrays[0])):
        try:
            scores += _check_scores(scorer, (arrays[0][n : n + 1], arrays[1][n : n + 1]))
        except Exception as error:
            scores.append(_error_text(error))
    return scores


def _error_text(error: Exception) -> str:
    return redact(str(error) or type(error).__name__)[:500]
