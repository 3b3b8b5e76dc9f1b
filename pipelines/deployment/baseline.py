"""What is frozen before a rollout begins: the champion's loss and latency, the pair's scatter, both models."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pipelines.artifacts.evaluation import Evaluation
from pipelines.deployment.foretold import foretell
from pipelines.deployment.rows import read_rows
from pipelines.errors import MissingData
from pipelines.losses import DEFAULT, loss_of
from pipelines.records import Baseline

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.tracking.version import ModelVersion

PERCENTILE = 0.95
LATELY = timedelta(days=30)


def freeze(context: Context, champion: str | None, challenger: ModelVersion) -> Baseline:
    """Measure the baseline that a rollout is judged against.

    champion_loss is the mean loss of the champion's last 30 days in production if enough labels have matured, else that
    on the challenger's test window, else the Brier score of its own evaluation. slow_ms is its p95 in those days; None
    if it answered too few requests: then the p95 comes
    from the first rows of the rollout.

    Raises:
        MissingData: if the champion is not a version of the chain.
    """
    ours = Baseline(challenger.model_uri, challenger.sha256, challenger.evaluation_uri)
    if champion is None:
        return ours
    model = context.models.resolve(version=champion)
    if model is None:
        raise MissingData(f"champion {champion} is not a version of the chain; set the alias to one that is")
    loss, slow = production(context, champion)
    foretold, source = foretell(context, model.model, challenger), "production"
    if loss is None:
        loss, source = foretold.champion_loss, "evaluation"
    if loss is None and loss_of(context.usecase).name == DEFAULT:
        loss = Evaluation.read(context.data.store, model.evaluation_uri).metrics["brier"]
    if loss is None:
        raise MissingData(
            f"the loss of champion {champion} is not known: {foretold.why}, and it has answered too few requests; "
            "train a challenger on inputs that the champion reads as well, or let the champion answer for some days"
        )
    return replace(
        ours,
        champion_uri=model.model_uri,
        champion_sha256=model.sha256,
        champion_loss=loss,
        champion_loss_from=source,
        slow_ms=slow,
        foretold=foretold.model_copy(update={"narrowest": context.params.rollout.judge.margin_share * loss}).as_json(),
    )


def production(context: Context, champion: str) -> tuple[float | None, float | None]:
    """(Mean loss, p95 in milliseconds) of the champion under the plan in force; None where there are too few rows."""
    usecase, now = context.usecase, context.clock.now()
    plan = context.plans.current()
    if plan is None:
        return None, None
    rows = read_rows(context.predictions, [plan.version], now, now - LATELY)
    min_rows = context.params.rollout.judge.min_pairs
    matured = rows[(rows.predicted_at + usecase.maturity <= now) & rows.label.notna()]
    score = pd.to_numeric(matured.scores.map(lambda scores: scores.get(champion)), errors="coerce")
    loss = loss_of(usecase).rows(score.to_numpy(float), matured.label.to_numpy(float))
    loss = loss[np.isfinite(loss)]
    return (float(loss.mean()) if len(loss) >= min_rows else None), pace(rows, champion, min_rows)


def pace(rows: pd.DataFrame, version: str, min_rows: int) -> float | None:
    """p95 in milliseconds of a version's first `min_rows` requests; None where there are fewer."""
    times = pd.to_numeric(rows.milliseconds.map(lambda times: times.get(version)), errors="coerce").dropna()
    return float(np.quantile(times[:min_rows], PERCENTILE)) if len(times) >= min_rows else None
