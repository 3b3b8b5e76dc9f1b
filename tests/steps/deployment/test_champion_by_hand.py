"""A champion set by hand is put in force, or refused if it cannot serve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.context import Context
from pipelines.deployment.aliases import alias_news, pending_news
from pipelines.errors import CheckFailed
from pipelines.records import Action
from pipelines.steps import execute
from tests.postgres_fixtures import on_both
from tests.rollouts import set_alias
from tests.steps.deployment.rollout import champion_first, finish, in_force, look, stage, start, traffic

pytestmark = on_both


def test_a_champion_that_changes_aborts_the_rollout(desk: Context) -> None:
    champion_first(desk)
    set_alias(desk, "challenger", "2")
    start(desk)
    stage(desk, "shadow")
    traffic(desk, 2)
    desk.models.set_alias("champion", "3")
    answer = look(desk, "shadow")
    assert answer["action"] == "ABORT" and "alias champion points to version 3" in answer["reason"]
    assert stage(desk, "25")["in_force"] is False
    assert finish(desk, "promote")["action"] == "abort"
    assert in_force(desk).champion == "1" and desk.models.aliases() == {"champion": "3"}
    assert execute("reconcile_aliases", {}, desk)["champion"] == "3"


def test_a_champion_set_by_hand_is_honoured_at_once(desk: Context) -> None:
    champion_first(desk)
    set_alias(desk, "challenger", "2")
    start(desk)
    stage(desk, "shadow")
    desk.models.set_alias("champion", "3")
    assert alias_news("champion", desk) == {"alias": "champion", "version": "3", "change": 2}
    assert alias_news("champion", desk) is None
    assert pending_news("champion", desk, again=True) is not None
    done = execute("reconcile_aliases", {}, desk)
    assert done["changed"] and done["champion"] == "3"
    assert not execute("reconcile_aliases", {}, desk)["changed"]
    assert pending_news("champion", desk, again=True) is None, "the change was handled"
    ledger = desk.ledger.entries()
    assert [(e.actor, e.action, e.version) for e in ledger[-2:]] == [
        ("out-of-band", "abort", "2"),
        ("out-of-band", "forced_promotion", "3"),
    ]
    assert ledger[-1].previous == "1"
    assert desk.models.aliases() == {"champion": "3", "previous": "1"}
    assert look(desk, "shadow")["action"] == "ABORT"
    assert finish(desk, "abort")["champion"] == "3"
    desk.models.set_alias("champion", "1")
    assert execute("reconcile_aliases", {}, desk)["champion"] == "1"


@pytest.mark.parametrize("at", ["state.put_in_force", "state.keep_previous", "retire"])
def test_a_killed_forced_promotion_is_completed_by_the_retry(
    desk: Context, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    champion_first(desk)
    start(desk)
    stage(desk, "shadow")
    desk.models.set_alias("champion", "3")

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(f"pipelines.deployment.override.{at}", killed)
        execute("reconcile_aliases", {}, desk)
    execute("reconcile_aliases", {}, desk)
    execute("reconcile_aliases", {}, desk)
    assert (in_force(desk).champion, in_force(desk).challenger) == ("3", None)
    assert desk.models.aliases() == {"champion": "3", "previous": "1"}
    entries = [(entry.action, entry.version, entry.previous) for entry in desk.ledger.entries()]
    assert entries[-2:] == [("abort", "2", "1"), ("forced_promotion", "3", "1")]


def test_an_altered_champion_set_by_hand_is_refused_and_the_plan_stays(desk: Context) -> None:
    champion_first(desk)
    graph = Path(desk.models.resolve(version="3").model_uri) / "model.onnx"  # type: ignore[union-attr]
    graph.write_bytes(graph.read_bytes()[:-10])
    desk.models.set_alias("champion", "3")
    for _ in range(2):
        with pytest.raises(CheckFailed, match=r"version 3 cannot serve: .* version 1 stays"):
            execute("reconcile_aliases", {}, desk)
    assert in_force(desk).champion == "1"
    assert [e.action for e in desk.ledger.entries()].count(Action.REFUSED) == 1
    desk.models.set_alias("champion", "1")
    assert not execute("reconcile_aliases", {}, desk)["changed"]
    set_alias(desk, "challenger", "2")
    assert start(desk)["proceed"]
