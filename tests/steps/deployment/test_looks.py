"""What a look of the judge depends on, and when its answer may change."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import sqlalchemy as sa

from pipelines.context import Context
from pipelines.deployment.pulse import goes_on, pulse
from pipelines.errors import CheckFailed
from pipelines.records.predictions import OUTCOMES
from tests.postgres_fixtures import on_both
from tests.predictions import labels, read_log
from tests.rollouts import set_alias
from tests.steps.deployment.rollout import (
    MATURITY,
    START,
    champion_first,
    clock,
    console,
    finish,
    look,
    stage,
    start,
    traffic,
)

pytestmark = on_both


def test_an_answer_that_the_plan_did_not_assign_holds_and_is_explained(
    desk: Context, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    champion_first(desk)
    set_alias(desk, "challenger", "2")
    start(desk)
    stage(desk, "shadow")
    traffic(desk, 6, failing={"1": 0.2})
    assert look(desk, "shadow")["action"] == "ADVANCE"
    answered = {p.prediction_id: p for p in read_log(desk.predictions)}
    stood_in = next(p for p in answered.values() if p.served == "2")
    shown = console(desk, capsys, "explain", stood_in.prediction_id)
    assert "version 1, by the plan; it failed, so version 2 answered" in shown
    traffic(desk, 1, served=lambda n, p: "2" if n == 7 else p.served)
    answer = look(desk, "shadow")
    assert (answer["action"], answer["rule"]) == ("HOLD", "misrouted")
    wrong = next(p for p in read_log(desk.predictions) if p.served == "2" and not p.errors)
    assert "it did not fail" in console(desk, capsys, "explain", wrong.prediction_id)
    assert json.loads(console(desk, capsys, "explain", wrong.prediction_id, "--json"))["assigned"] == "1"


def test_a_repeated_look_gives_the_same_bytes_and_later_labels_change_no_increment(desk: Context) -> None:
    champion_first(desk)
    set_alias(desk, "challenger", "2")
    start(desk)
    stage(desk, "shadow")
    traffic(desk, 4)
    first = look(desk, "shadow")
    decision = desk.decisions.get(first["decision_id"])
    assert look(desk, "shadow") == first
    assert json.dumps(desk.decisions.get(first["decision_id"])) == json.dumps(decision)
    assert decision is not None and decision["kind"] == "rollout" and decision["verdict"] == first["action"]
    increments = decision["evidence"]["increments"]
    assert len(increments) == first["blocks"] == 3, "the last day's labels have not matured"
    log = desk.predictions
    late = read_log(log)[0]
    log.append([replace(late, prediction_id="late", scores={"1": 0.0, "2": 1.0})])
    log.record_outcomes([("late", 0.0, clock(desk).now())])
    traffic(desk, 1)
    again = desk.decisions.get(look(desk, "shadow")["decision_id"])
    assert again is not None and increments.items() <= again["evidence"]["increments"].items()


def test_a_label_that_arrives_at_the_instant_of_a_look_does_not_change_it(desk: Context) -> None:
    """Only a later look sees it, and its block counts without it for good."""
    champion_first(desk)
    start(desk)
    stage(desk, "shadow")
    traffic(desk, 4)
    now, log = clock(desk).now(), desk.predictions
    closings = {row.closes_at + MATURITY for row in read_log(log)}
    assert now in closings, "the labels of a block mature at exactly this instant"
    known, late = labels(log), {row.prediction_id for row in read_log(log) if row.block > START.date().isoformat()}
    with desk.records.engine.begin() as connection:
        connection.execute(sa.delete(OUTCOMES).where(OUTCOMES.c.prediction_id.in_(late)))
    before = look(desk, "shadow")
    assert (before["rule"], before["blocks"]) == ("missing_data", 1)
    log.record_outcomes([(identity, known[identity][0], now) for identity in sorted(late)])
    assert look(desk, "shadow") == before
    clock(desk).advance(microseconds=1)
    after = look(desk, "shadow")
    assert (after["action"], after["blocks"]) == ("ADVANCE", 1)


def test_a_request_that_arrives_at_the_instant_of_a_look_does_not_change_it(desk: Context) -> None:
    champion_first(desk)
    start(desk)
    stage(desk, "shadow")
    traffic(desk, 4)
    now, before = clock(desk).now(), look(desk, "shadow")
    traffic(desk, 1, a_day=1, errors=lambda n, p: {"2": "no output"})
    clock(desk).at = now
    assert read_log(desk.predictions)[-1].predicted_at == now
    assert look(desk, "shadow") == before
    clock(desk).advance(microseconds=1)
    assert look(desk, "shadow")["pulse"] != before["pulse"]


def test_a_rollout_that_is_out_of_time_keeps_the_champion(desk: Context) -> None:
    champion_first(desk)
    start(desk)
    stage(desk, "shadow")
    answer = look(desk, "shadow", out_of_time=True)
    assert (answer["action"], answer["rule"]) == ("INCONCLUSIVE", "wall_clock")
    assert "wall clock ran out" in answer["next_step"] and "too few" in answer["next_step"]
    assert answer["observed"] is None
    finish(desk, "inconclusive", decision_id=answer["decision_id"])
    tags = desk.models.require("2").tags
    assert tags["rollout.rule"] == "wall clock" and tags["rollout.next"] == answer["next_step"]


def test_the_pulse_changes_when_the_answer_of_the_judge_may(desk: Context) -> None:
    champion_first(desk)
    start(desk)
    stage(desk, "shadow")
    seen = {pulse("a", desk)}
    traffic(desk, 1, a_day=10)
    seen.add(pulse("a", desk))  # a day has passed
    clock(desk).advance(hours=1)
    assert pulse("a", desk) in seen
    clock(desk).advance(days=1)
    seen.add(pulse("a", desk))  # its block closed
    traffic(desk, 1, a_day=1, errors=lambda n, p: {"2": "no output"})
    seen.add(pulse("a", desk))
    assert len(seen) == 4


def test_a_replay_waits_until_the_judge_has_held_on_the_current_evidence(desk: Context) -> None:
    champion_first(desk)
    assert not goes_on(desk, 0), "no rollout is in force"
    start(desk)
    stage(desk, "shadow")
    with pytest.raises(CheckFailed, match="nobody has judged rollout a"):
        goes_on(desk, 0)
    assert look(desk, "shadow")["action"] == "HOLD" and goes_on(desk, 0)
    traffic(desk, 3)
    with pytest.raises(CheckFailed, match="rollout abort"):
        goes_on(desk, 0)
    while (answer := look(desk, "shadow"))["action"] == "HOLD":
        assert goes_on(desk, 0)
        traffic(desk, 1)
    assert answer["action"] == "ADVANCE"
    with pytest.raises(CheckFailed):
        goes_on(desk, 0)  # the next stage is not yet set
    finish(desk, "abort")
    assert not goes_on(desk, 0)
