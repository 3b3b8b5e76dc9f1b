"""A block closes once all writers of the log have passed its end; a dead writer holds it and is named."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from pipelines.context import Context
from pipelines.deployment.pulse import pulse
from pipelines.errors import InvalidInput
from tests.postgres_fixtures import on_both
from tests.steps.deployment.rollout import START, champion_first, clock, console, look, stage, start, traffic

pytestmark = on_both


def test_a_lagging_writer_holds_the_blocks_that_it_may_still_write_to(
    desk: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    champion_first(desk)
    start(desk)
    stage(desk, "shadow")
    traffic(desk, 6)
    assert look(desk, "shadow")["blocks"] == 5, "the last day's labels have not matured"
    before = pulse("a", desk)
    desk.writers.advance("one/1", clock(desk).at)
    assert pulse("a", desk) == before and look(desk, "shadow")["blocks"] == 5
    desk.writers.advance("two/1", START + timedelta(days=3, hours=1))
    held = look(desk, "shadow")
    assert held["blocks"] == 2 and pulse("a", desk) != before
    assert "waits for its writer two/1" in held["reason"] and "one/1" not in held["reason"]
    decision = desk.decisions.get(held["decision_id"])
    assert decision is not None and "flightdeck writers end two/1" in decision["reasons"][-1]
    assert decision["evidence"]["requests"] == len(desk.predictions.all()), "harm is still detected"
    some = desk.predictions.all()[0].prediction_id
    explained = json.loads(console(desk, capsys, "explain", some, "--json"))
    assert explained["log_complete_until"] == str(START + timedelta(days=3, hours=1))
    assert "complete until 2024-04-04T01:00" in console(desk, capsys, "explain", some)
    shown = json.loads(console(desk, capsys, "writers", "list", "--json"))
    assert [one["name"] for one in shown] == ["two/1", "one/1"]
    with pytest.raises(InvalidInput, match="name one of these: two/1, one/1"):
        console(desk, capsys, "writers", "end", "three/1")
    assert "writes no more" in console(desk, capsys, "writers", "end", "two/1")
    assert pulse("a", desk) == before
    again = look(desk, "shadow")
    assert again["blocks"] == 5 and "waits" not in again["reason"]
    desk.writers.advance("two/1", START)
    assert look(desk, "shadow")["blocks"] == 2, "a writer ended by mistake holds again at its watermark"


def test_a_silent_writer_triggers_a_look_and_hides_no_harm(desk: Context) -> None:
    champion_first(desk)
    start(desk)
    stage(desk, "shadow")
    traffic(desk, 3)
    desk.writers.advance("dead/1", clock(desk).at)
    before = pulse("a", desk)
    clock(desk).advance(seconds=20)
    assert pulse("a", desk) == before
    clock(desk).advance(seconds=20)
    silent = pulse("a", desk)
    assert silent != before and "dead/1" in silent
    traffic(desk, 1, failing={"2": 1.0})
    assert pulse("a", desk) != silent
    answer = look(desk, "shadow")
    assert answer["action"] == "ROLLBACK" and "dead/1" in answer["reason"]


def test_a_writer_whose_clock_is_ahead_does_not_let_the_judge_see_the_future(desk: Context) -> None:
    champion_first(desk)
    start(desk)
    stage(desk, "shadow")
    traffic(desk, 3)
    seen = look(desk, "shadow")
    desk.writers.advance("fast/1", clock(desk).at + timedelta(days=9))
    assert look(desk, "shadow") == seen
