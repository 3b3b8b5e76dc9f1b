"""A candidate against the champion, on the candidate's own test rows."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from pipelines.artifacts.model import ModelRef
from pipelines.artifacts.scorer import load_scorer
from pipelines.blocks import blocks_of
from pipelines.errors import InvalidInput
from pipelines.metrics.scores import Sample, differences, jsonable
from pipelines.params import EvaluationRules
from pipelines.store import Store
from pipelines.usecase import LABEL


@dataclass(frozen=True)
class Comparison:
    """Metrics of the champion and the differences `METRIC_delta`, candidate minus champion; or why there are none."""

    sha256: str | None
    metrics: dict[str, float | None]
    deltas: dict[str, float | None]
    problem: str | None = None


def compare(scored: pd.DataFrame, champion: ModelRef, store: Store, settings: EvaluationRules, seed: int) -> Comparison:
    """Score the champion on the rows that the candidate scored.

    If the champion cannot be read, or reads other columns, the comparison has no numbers, and the gates on it hold.

    Args:
        scored: the candidate's test frame with its `score`.
    """
    try:
        scorer = load_scorer(store, champion)
        champion_scores = scorer.score(scored)
    except InvalidInput as error:
        return Comparison(None, {}, {}, f"the champion cannot be scored on these rows: {error}")
    blocks = blocks_of(scored)
    candidate_sample = Sample.of(scored[LABEL], scored["score"], blocks, settings.calibration_bins)
    champion_sample = Sample.of(scored[LABEL], champion_scores, blocks, settings.calibration_bins)
    deltas = differences(candidate_sample, champion_sample, settings.bootstrap, seed)
    return Comparison(scorer.model.sha256, jsonable(champion_sample.measure()), jsonable(deltas))
