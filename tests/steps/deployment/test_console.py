"""What the console shows of a rollout and of a prediction."""

from __future__ import annotations

import json

import pytest

from pipelines.context import Context
from pipelines.errors import InvalidInput, MissingData
from tests.postgres_fixtures import on_both
from tests.rollouts import same
from tests.steps.deployment.rollout import START, champion_first, console, look, stage, start, traffic

pytestmark = on_both


def test_the_console_shows_and_ends_a_rollout(
    desk: Context, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert "no version serves yet" in console(desk, capsys, "rollout", "status")
    champion_first(desk)
    with pytest.raises(InvalidInput, match="no rollout of pumps is under way"):
        console(desk, capsys, "rollout", "abort")
    start(desk)
    stage(desk, "shadow")
    traffic(desk, 3)
    look(desk, "shadow")
    shown = console(desk, capsys, "rollout", "status")
    assert "version 2, stage shadow, 0% of the traffic" in shown and "ADVANCE at 2024-04-04" in shown
    state = json.loads(console(desk, capsys, "rollout", "status", "--json"))
    assert state["plan"]["challenger"] == "2" and state["judged"]["verdict"] == "ADVANCE"
    ended = console(desk, capsys, "rollout", "rollback", "--reason", "too slow for us", "--actor", "ada")
    assert "rollback (too slow for us); version 1 has the traffic" in " ".join(ended.split())
    assert "too slow for us" in console(desk, capsys, "models", "ledger")
    listed = json.loads(console(desk, capsys, "models", "list", "--json"))
    assert [one["rollout.verdict"] for one in listed] == ["promote", "rollback", ""]
    assert "champion" in console(desk, capsys, "models", "list")


def test_a_prediction_is_explained(desk: Context, capsys: pytest.CaptureFixture[str]) -> None:
    champion_first(desk)
    features = {"features": lambda n, p: {"x": 1.25, "gappy": None}, "ages": lambda n, p: {"x": 7200.0, "gappy": None}}
    traffic(desk, 1, same, 1, **features)
    shown = console(desk, capsys, "explain", START.isoformat())
    assert "1.25" in shown and "2.0 h" in shown and "missing" in shown and "version 1" in shown
    with pytest.raises(MissingData, match="no prediction has the id 'x'"):
        console(desk, capsys, "explain", "x")
