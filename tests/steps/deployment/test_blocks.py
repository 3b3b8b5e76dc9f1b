"""Rollouts with blocks other than days: hours, a key and a day, and single requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest

from pipelines.context import Context
from pipelines.deployment.pulse import pulse
from pipelines.records import Prediction
from pipelines.usecase import Block, day_block
from tests.postgres_fixtures import on_both
from tests.predictions import read_log
from tests.rollouts import inverted, set_alias
from tests.steps.deployment.rollout import (
    MATURITY,
    champion_first,
    clock,
    end,
    look,
    ramp,
    stage,
    start,
    traffic,
)

pytestmark = on_both
Kind = Callable[[Prediction], Block]


def hourly(request: Prediction) -> Block:
    began = request.predicted_at.replace(minute=0, second=0, microsecond=0)
    return Block(f"{began:%Y-%m-%dT%H}", began + timedelta(hours=1))


def by_plant(request: Prediction) -> Block:
    day = day_block(request.predicted_at, "UTC")
    return Block(f"{'north' if int(request.entity.split()[1]) % 3 else 'south'}/{day.name}", day.closes_at)


def alone(request: Prediction) -> Block:
    return Block(request.prediction_id, request.predicted_at)


KINDS: Mapping[str, tuple[Kind, int]] = {"hours": (hourly, 20), "plants": (by_plant, 2), "rows": (alone, 120)}


def declared(kind: Kind) -> dict[str, Any]:
    """The arguments by which `traffic` logs these blocks in place of days."""
    return {"block": lambda _, request: kind(request).name, "closes_at": lambda _, request: kind(request).closes_at}


def closed_blocks(desk: Context) -> set[str]:
    return {one.block for one in read_log(desk.predictions) if one.closes_at + MATURITY <= clock(desk).now()}


@pytest.mark.parametrize(("kind", "a_day"), KINDS.values(), ids=KINDS)
def test_a_rollout_is_promoted_on_blocks_of_any_kind(desk: Context, kind: Kind, a_day: int) -> None:
    champion_first(desk)
    answer = ramp(desk, **declared(kind))
    assert (answer["action"], answer["rule"]) == ("PROMOTE", "gates")
    assert answer["blocks"] == len(closed_blocks(desk)) >= 2 * a_day
    decision = desk.decisions.get(answer["decision_id"])
    assert decision is not None and "late" not in decision["evidence"]
    recorded = decision["evidence"]
    known = recorded["increments"] or recorded["increments_in_short"]
    assert set(known) == (closed_blocks(desk) if answer["blocks"] <= 400 else {"blocks", "mean", "sha256"})
    assert end(desk, answer)["champion"] == "2"


@pytest.mark.parametrize("kind", [kind for kind, _ in KINDS.values()], ids=KINDS)
def test_a_worse_challenger_is_rolled_back_on_blocks_of_any_kind(desk: Context, kind: Kind) -> None:
    champion_first(desk)
    answer = ramp(desk, inverted, **declared(kind))
    assert (answer["action"], answer["rule"]) == ("ROLLBACK", "combined_evidence")
    assert end(desk, answer)["champion"] == "1"


@pytest.mark.parametrize(("kind", "looks"), [(hourly, 20), (by_plant, 1), (alone, 2)], ids=KINDS)
def test_the_pulse_changes_when_blocks_close_and_not_at_every_request(desk: Context, kind: Kind, looks: int) -> None:
    """A day of 120 requests, ten minutes apart; while their labels mature, `look_every` is 50."""
    champion_first(desk)
    start(desk)
    stage(desk, "shadow")
    traffic(desk, 1, **declared(kind))
    seen = [pulse("a", desk)]
    for _ in range(24 * 12 + 1):
        clock(desk).advance(minutes=5)
        if (text := pulse("a", desk)) != seen[-1]:
            seen.append(text)
    assert len(seen) - 1 == looks


def test_a_request_that_comes_late_moves_no_block_and_is_counted(desk: Context) -> None:
    champion_first(desk)
    set_alias(desk, "challenger", "2")
    start(desk)
    stage(desk, "shadow")
    traffic(desk, 3, **declared(hourly))
    before = desk.decisions.get(look(desk, "shadow")["decision_id"])
    first = read_log(desk.predictions)[-1]
    traffic(desk, 1, a_day=5, block=lambda n, p: first.block, closes_at=lambda n, p: first.closes_at)
    traffic(desk, 1, a_day=1)
    after = desk.decisions.get(look(desk, "shadow")["decision_id"])
    assert before is not None and after is not None and after["evidence"]["late"] == 5
    assert before["evidence"]["increments"].items() <= after["evidence"]["increments"].items()
    assert after["evidence"]["judgement"]["rows"] == 360, "all that arrived in time"
