"""The outcomes of a rollout: promotion, rollback, or the champion kept."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from pipelines.context import Context
from pipelines.deployment.aliases import alias_news
from tests.postgres_fixtures import on_both
from tests.rollouts import Score, inverted, set_alias, shuffled
from tests.services import thorough
from tests.steps.deployment.rollout import (
    START,
    champion_first,
    clock,
    end,
    finish,
    in_force,
    look,
    ramp,
    stage,
    start,
    traffic,
)

pytestmark = on_both


def test_the_first_model_goes_straight_to_all_traffic(desk: Context) -> None:
    champion_first(desk)
    plan = in_force(desk)
    assert (plan.champion, plan.challenger, plan.share, plan.stage) == ("1", None, 0.0, "")
    assert desk.models.aliases() == {"champion": "1"}
    assert [(e.action, e.version, e.share) for e in desk.ledger.entries()] == [
        ("start", "1", 0.0),
        ("promote", "1", 1.0),
    ]
    assert desk.models.resolve(version="1").tags["rollout.verdict"] == "promote"  # type: ignore[union-attr]
    for alias in ("challenger", "champion"):
        assert alias_news(alias, desk) is None, "an alias that the chain sets is not reported"


def test_an_equal_model_is_promoted(desk: Context) -> None:
    champion_first(desk)
    traffic(desk, 3)
    answer = ramp(desk)
    assert answer["action"] == "PROMOTE", answer
    assert end(desk, answer)["action"] == "promote"
    assert desk.models.aliases() == {"champion": "2", "previous": "1"}
    assert (in_force(desk).champion, in_force(desk).challenger) == ("2", None)
    entry = desk.ledger.entries()[-1]
    assert (entry.action, entry.previous, entry.share) == ("promote", "1", 1.0)
    assert entry.evidence["judgement"]["rule"] == "gates"
    assert [e.share for e in desk.ledger.entries() if e.action == "advance"] == [0, 0.25, 1]
    version = desk.tracker.client.get_model_version("pumps", "2")
    assert (
        "ended with `promote`" in version.description and version.tags["rollout.decision_id"] == answer["decision_id"]
    )
    facts = desk.ledger.entries()[2].evidence
    assert facts["champion_loss_from"] == "production" and facts["slow_ms"] > 0
    for alias in ("challenger", "champion"):
        assert alias_news(alias, desk) is None
    before = in_force(desk), desk.models.aliases()
    assert end(desk, answer)["action"] == "promote" and (in_force(desk), desk.models.aliases()) == before


@pytest.mark.parametrize("ours", [inverted, lambda risk, draw: np.full(len(risk), 0.9)])
def test_a_much_worse_model_is_rolled_back_early_and_rollback_is_idempotent(desk: Context, ours: Score) -> None:
    champion_first(desk)
    answer = ramp(desk, ours)
    assert answer["action"] == "ROLLBACK" and answer["rows"] < 1000
    assert clock(desk).now() - START <= timedelta(days=6)
    assert end(desk, answer) == end(desk, answer)
    assert desk.models.aliases() == {"champion": "1"} and in_force(desk).champion == "1"
    plans = in_force(desk).version
    assert finish(desk, "promote")["action"] == "rollback", "the first ending is kept"
    assert in_force(desk).version == plans and desk.models.aliases() == {"champion": "1"}


def test_a_label_shuffled_model_is_never_promoted(desk: Context) -> None:
    champion_first(desk)
    answer = ramp(desk, shuffled, days=45)
    assert answer["action"] in ("ROLLBACK", "INCONCLUSIVE")
    end(desk, answer)
    assert in_force(desk).champion == "1" and desk.models.aliases() == {"champion": "1"}


def test_without_traffic_or_labels_nothing_is_promoted(desk: Context) -> None:
    champion_first(desk)
    set_alias(desk, "challenger", "2")
    start(desk)
    stage(desk, "shadow")
    for _ in range(39):
        assert look(desk, "shadow")["action"] == "HOLD"
        clock(desk).advance(days=1)
    clock(desk).advance(days=2)
    assert look(desk, "shadow")["action"] == "INCONCLUSIVE"


@pytest.mark.parametrize(
    ("scores", "errors", "rule"),
    [
        (float("nan"), {}, "nan_output"),
        (None, {"2": "its score is nan, no probability"}, "nan_output"),
        (None, {"2": "its score is 1.5, no probability"}, "out_of_range_output"),
        (1.5, {}, "out_of_range_output"),
        (None, {"2": "no output"}, "combined_evidence"),
    ],
)
def test_broken_output_is_rolled_back_without_labels(desk: Context, scores: Any, errors: Any, rule: str) -> None:
    champion_first(desk)
    answer = ramp(desk, scores=lambda n, p: {**p.scores, "2": scores}, errors=lambda n, p: errors)
    assert (answer["action"], answer["rule"]) == ("ROLLBACK", rule)
    assert answer["rows"] == 0


@thorough
def test_a_challenger_that_never_scores_is_not_promoted(desk: Context) -> None:
    champion_first(desk)
    answer = ramp(desk, scores=lambda n, p: {"1": p.scores["1"]}, days=45, a_day=30)
    assert answer["action"] == "INCONCLUSIVE"


@thorough
def test_a_failing_champion_does_not_stop_its_successor(desk: Context) -> None:
    champion_first(desk)
    answer = ramp(desk, failing={"1": 0.1})
    assert answer["action"] == "PROMOTE"
    evidence = desk.decisions.get(answer["decision_id"])["evidence"]  # type: ignore[index]
    assert evidence["judgement"]["log_e"]["split"] < math.log(20) and not evidence["flags"]["misrouted"]


@pytest.mark.parametrize("rate", [0.1, 1.0], ids=["on some requests", "not loaded"])
def test_a_failing_challenger_is_rolled_back_for_its_errors(desk: Context, rate: float) -> None:
    champion_first(desk)
    answer = ramp(desk, failing={"2": rate})
    assert (answer["action"], answer["rule"]) == ("ROLLBACK", "combined_evidence") and "errors" in answer["next_step"]
