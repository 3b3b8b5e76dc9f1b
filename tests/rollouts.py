"""A home with registered versions, and simulated traffic, for the tests of rollouts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.clock import ReplayClock
from pipelines.context import Context, build_context
from pipelines.records import Plan, Prediction
from pipelines.registration.evaluation import read_evaluated_model
from pipelines.registration.lineage import data_tags
from pipelines.steps import execute
from pipelines.traffic import serves_challenger
from pipelines.usecase import day_block
from tests.conftest import TOY, run_candidates
from tests.homes import copy_home
from tests.synthetic import context_over, write_training_set


def home_with_versions(home: Path) -> Path:
    """Versions 1, 2 and 3 of one family, no alias, and no rollout."""
    context = context_over(home)
    for number, seed in (("r1", 1), ("r2", 7), ("r3", 9)):
        uri = write_training_set(context, number, seed, rows=1500)
        outputs = run_candidates(context, uri, number, "mlp")
        evaluation_uri = outputs["evaluate"][0]["evaluation_uri"]
        evaluated = read_evaluated_model(context.data.store, evaluation_uri)
        runs = outputs["log_candidates"]["runs"]
        context.models.register(runs["mlp"], data_tags(evaluation_uri, evaluated.evaluation, evaluated.model))
    return home


def started_over(template: Path, home: Path, at: datetime) -> Context:
    """A copy of a home's records and of MLflow's database, its clock set; the models' files stay where they are."""
    copy_home(template, home, "data")
    context = build_context(TOY, home)
    ReplayClock(context.records.simulated_time(context.usecase.name)).start(at)
    return context


NOTED = datetime(2024, 1, 1, tzinfo=UTC)  # the instant recorded for aliases; only the ledger reads it


def set_alias(context: Context, alias: str, version: str, actor: str = "training") -> int:
    """An alias and its note, as registration makes them; the number of the change."""
    context.models.set_alias(alias, version)
    return context.aliases.note(alias, version, actor, NOTED) or (context.aliases.last(alias) or (0, ""))[0]


Score = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def same(risk: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    return np.clip(risk + draw.normal(0, 0.02, len(risk)), 0, 1)


def inverted(risk: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    return 1 - risk


def shuffled(risk: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    return np.clip(0.35 + 0.3 * (draw.permutation(risk) - 0.5), 0, 1)


def traffic(
    context: Context,
    advance: Any,
    days: int,
    ours: Score = same,
    a_day: int = 120,
    failing: Mapping[str, float] | None = None,
    **changes: Any,
) -> None:
    """Requests of some days under the plan in force, with their outcomes; `advance` moves the clock forward.

    `failing` has the failure rate of a version; the other version answers then, or none, and nothing is logged.
    """
    log = context.predictions
    for _ in range(days):
        now = context.clock.now()
        plan = context.plans.current()
        assert plan is not None
        draw = np.random.default_rng(int(now.timestamp()) % 2**31)
        risk = draw.beta(1, 2, a_day)
        label = (draw.random(a_day) < risk).astype(float)
        predictions, outcomes = [], []
        for n, scores in enumerate(zip(same(risk, draw), ours(risk, draw), strict=True)):
            at = now + timedelta(minutes=10 * n)
            prediction = answered(plan, at, scores, failing or {}, draw)
            if prediction is not None:
                block = day_block(at, context.usecase.timezone)
                prediction = replace(prediction, block=block.name, closes_at=block.closes_at)
                predictions.append(replace(prediction, **{k: v(n, prediction) for k, v in changes.items()}))
                outcomes.append(
                    (predictions[-1].prediction_id, label[n], predictions[-1].predicted_at + timedelta(hours=20))
                )
        log.append(predictions)
        log.record_outcomes(outcomes)
        advance(now + timedelta(days=1))


def answered(
    plan: Plan, at: datetime, pair: tuple[float, float], failing: Mapping[str, float], draw: np.random.Generator
) -> Prediction | None:
    """A request, a block of its own, as a server logs it; None where every version fails.

    Args:
        pair: the scores of champion and challenger.
    """
    entity = f"pump {draw.integers(2000)}"
    scores: dict[str, float | None] = {plan.champion: float(pair[0])}
    assigned = plan.champion
    if plan.challenger is not None:
        scores[plan.challenger] = float(pair[1])
        assigned = plan.challenger if serves_challenger(plan.rollout, entity, plan.share) else assigned
    failed = {version for version, rate in failing.items() if draw.random() < rate} & set(scores)
    if failed == set(scores):
        return None
    scores |= dict.fromkeys(failed)
    served = next(version for version in (assigned, *scores) if version not in failed)
    return Prediction(
        prediction_id=at.isoformat(),
        entity=entity,
        block=at.isoformat(),
        closes_at=at,
        predicted_at=at,
        request={},
        features={},
        ages={},
        plan=plan.version,
        share=plan.share,
        served=served,
        score=scores[served],
        scores=scores,
        milliseconds={version: float(draw.gamma(4, 0.2)) for version in scores},
        errors=dict.fromkeys(failed, "no output"),
    )


def clock(context: Context) -> ReplayClock:
    """The simulated clock of a home."""
    return ReplayClock(context.records.simulated_time("pumps"))


def champion_first(context: Context) -> None:
    """Version 1 becomes the champion."""
    change = set_alias(context, "challenger", "1")
    set_alias(context, "champion", "1")
    execute("start_rollout", {"version": "1", "change": change, "actor": "test", "run": "first"}, context)
    execute("finish_rollout", {"rollout": "first", "action": "promote", "reason": "first"}, context)
