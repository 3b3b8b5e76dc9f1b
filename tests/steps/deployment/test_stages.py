"""Stages are set once, and a rollout can be ended by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.context import Context
from pipelines.deployment.pulse import pulse
from pipelines.errors import CheckFailed
from tests.postgres_fixtures import on_both
from tests.steps.deployment.rollout import champion_first, clock, finish, in_force, look, stage, start

pytestmark = on_both


def test_a_stage_is_set_once_and_a_late_retry_does_not_lower_the_share(desk: Context) -> None:
    champion_first(desk)
    start(desk)
    first = stage(desk, "shadow")
    assert stage(desk, "shadow")["plan"] == first["plan"]
    stage(desk, "25")
    assert stage(desk, "shadow")["share"] == 0.25 and in_force(desk).share == 0.25
    passed = look(desk, "shadow")
    assert (passed["action"], passed["rule"]) == ("ADVANCE", "stage_passed"), "the task of an earlier stage was cleared"
    assert look(desk, "100")["action"] == "HOLD", "another stage is in force"
    assert [entry.reason for entry in desk.ledger.entries()[-2:]] == ["stage shadow", "stage 25"]


def test_the_retry_of_a_killed_stage_task_enters_the_stage_in_the_ledger(
    desk: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    champion_first(desk)
    start(desk)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("pipelines.records.ledger.Ledger.enter", killed)
        stage(desk, "shadow")
    assert in_force(desk).stage == "shadow"
    clock(desk).advance(hours=1)
    assert stage(desk, "shadow")["in_force"]
    last = desk.ledger.entries()[-1]
    assert (last.action, last.reason, last.at) == ("advance", "stage shadow", in_force(desk).since)


def test_a_version_without_its_artifact_cannot_be_promoted_by_hand(desk: Context) -> None:
    champion_first(desk)
    start(desk)
    stage(desk, "shadow")
    model = desk.models.resolve(version="2")
    assert model is not None
    graph = Path(model.model_uri) / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"?")
    with pytest.raises(CheckFailed, match="version 2 cannot serve"):
        finish(desk, "promote", actor="ada")
    assert in_force(desk).champion == "1" and in_force(desk).challenger == "2", "nothing has changed"
    assert finish(desk, "rollback", actor="ada")["champion"] == "1"


def test_a_rollout_can_be_aborted_and_promoted_by_hand(desk: Context) -> None:
    champion_first(desk)
    start(desk)
    stage(desk, "shadow")
    seen = pulse("a", desk)
    assert pulse("a", desk) == seen
    finish(desk, "abort", actor="ada")
    assert pulse("a", desk) != seen and look(desk, "shadow")["action"] == "ABORT"
    assert in_force(desk).challenger is None and in_force(desk).champion == "1"
    start(desk, run="b")
    stage(desk, "shadow", "b")
    held = look(desk, "shadow", "b")
    with pytest.raises(CheckFailed, match="is HOLD, not PROMOTE"):
        finish(desk, "promote", "b", decision_id=held["decision_id"])
    assert finish(desk, "promote", "b", actor="ada")["champion"] == "2"
    assert desk.ledger.entries()[-1].actor == "ada"
    finish(desk, "abort", "a")
    assert in_force(desk).champion == "2", "the later rollout is left alone"
