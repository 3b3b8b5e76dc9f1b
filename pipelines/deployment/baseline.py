"""What is frozen before a rollout begins: the champion's loss and pace, and where both models lie."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pipelines.artifacts.evaluation import Evaluation
from pipelines.deployment.rows import read_rows
from pipelines.errors import MissingData
from pipelines.records import Baseline

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.tracking.version import ModelVersion

PERCENTILE = 0.95
LATELY = timedelta(days=30)


def freeze(context: Context, champion: str | None, challenger: ModelVersion) -> Baseline:
    """What a rollout is judged against.

    champion_loss is the Brier score of its last 30 days in production where enough labels have matured, else that of
    its evaluation. slow_ms is its p95 then; None where it answered too little, and the rollout's first rows serve.

    Raises:
        MissingData: if the champion is no version of the chain.
    """
    ours = Baseline(challenger.model_uri, challenger.sha256, challenger.evaluation_uri)
    if champion is None:
        return ours
    model = context.models.resolve(version=champion)
    if model is None:
        raise MissingData(f"champion {champion} is no version of the chain; set alias champion to one that is")
    loss, slow = production(context, champion)
    source = "production"
    if loss is None:
        loss = Evaluation.read(context.data.store, model.evaluation_uri).metrics["brier"]
        source = "evaluation"
    return replace(
        ours,
        champion_uri=model.model_uri,
        champion_sha256=model.sha256,
        champion_loss=loss,
        champion_loss_from=source,
        slow_ms=slow,
    )


def production(context: Context, champion: str) -> tuple[float | None, float | None]:
    """(Brier score, p95 in milliseconds) of the champion under the plan in force, each None where too few rows say."""
    usecase, now = context.usecase, context.clock.now()
    plan = context.plans.current()
    if plan is None:
        return None, None
    rows = read_rows(context.predictions, [plan.version], now, now - LATELY)
    needed = context.params.rollout.judge.min_pairs
    ripe = rows[(rows.predicted_at + usecase.maturity <= now) & rows.label.notna()]
    score = pd.to_numeric(ripe.scores.map(lambda scores: scores.get(champion)), errors="coerce")
    loss = ((score - ripe.label.astype(float)) ** 2).dropna()
    return (float(loss.mean()) if len(loss) >= needed else None), pace(rows, champion, needed)


def pace(rows: pd.DataFrame, version: str, needed: int) -> float | None:
    """p95 of a version's first `needed` times in milliseconds; None where there are fewer."""
    times = pd.to_numeric(rows.milliseconds.map(lambda times: times.get(version)), errors="coerce").dropna()
    return float(np.quantile(times[:needed], PERCENTILE)) if len(times) >= needed else None
