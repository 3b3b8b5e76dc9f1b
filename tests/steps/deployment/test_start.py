"""A change starts one rollout, and only one rollout runs at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pipelines.context import Context
from pipelines.deployment.aliases import alias_news
from pipelines.errors import CheckFailed, InvalidInput, MissingData
from tests.postgres_fixtures import on_both
from tests.rollouts import set_alias
from tests.steps.deployment.rollout import champion_first, finish, look, open_context, stage, start

pytestmark = on_both


def test_a_change_starts_one_rollout_whichever_way_it_is_reported(desk: Context) -> None:
    champion_first(desk)
    change = set_alias(desk, "challenger", "2")
    places = {"mlflow_uri": desk.settings.mlflow, "records_uri": desk.settings.records}

    def begin(run: str) -> dict[str, Any]:
        return start(open_context(desk.settings.home, **places), run=run, change=change)

    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(begin, ["training", "watcher"]))
    assert sorted(one["proceed"] for one in both) == [False, True]
    winner = next(one["rollout"] for one in both if one["proceed"])
    assert start(desk, run=winner, change=change)["proceed"], "a retry goes on"
    assert not start(desk, run="late", change=change)["proceed"]
    finish(desk, "inconclusive", winner)
    assert not start(desk, run="later", change=change)["proceed"]
    assert len([e for e in desk.ledger.entries() if e.action == "start"]) == 2


def test_the_same_version_may_challenge_again(desk: Context) -> None:
    champion_first(desk)
    desk.models.set_alias("challenger", "2")
    news = alias_news("challenger", desk)
    assert news == {"alias": "challenger", "version": "2", "change": 3}  # 1: version 1, 2: its removal
    assert start(desk, change=3)["proceed"]
    finish(desk, "inconclusive")
    assert alias_news("challenger", desk) is None
    desk.models.set_alias("challenger", "2")
    assert alias_news("challenger", desk) == {"alias": "challenger", "version": "2", "change": 5}
    assert not start(desk, run="b", change=3)["proceed"]
    assert start(desk, run="c", change=5)["proceed"]


def test_the_form_sets_the_alias_once_despite_retries(desk: Context) -> None:
    champion_first(desk)
    assert start(desk)["proceed"] and desk.models.aliases()["challenger"] == "2"
    assert alias_news("challenger", desk) is None
    finish(desk, "abort")
    assert not start(desk)["proceed"] and "challenger" not in desk.models.aliases()
    assert start(desk, run="b")["proceed"]


def test_a_second_rollout_waits_for_the_first(desk: Context) -> None:
    champion_first(desk)
    set_alias(desk, "challenger", "2")
    start(desk)
    change = set_alias(desk, "challenger", "3")
    with pytest.raises(CheckFailed, match="rollout a of version 2 is under way"):
        start(desk, "3", "b", change=change)
    finish(desk, "inconclusive")
    assert desk.models.aliases()["challenger"] == "3", "the alias was set anew, so it is kept"
    assert start(desk, "3", "b", change=change)["proceed"]


def test_versions_that_cannot_be_rolled_out_are_refused_with_a_reason(desk: Context) -> None:
    champion_first(desk)
    with pytest.raises(MissingData, match="no version 9 of the chain; there are: 1, 2, 3"):
        start(desk, "9")
    again = start(desk, "1", "again")
    assert not again["proceed"] and "is the champion already" in again["why"]
    desk.models.set_alias("challenger", "2")
    start(desk)
    with pytest.raises(InvalidInput, match="stage '7' is not one of shadow, 25, 100"):
        stage(desk, "7")
    with pytest.raises(CheckFailed, match="stage 100 is not next"):
        stage(desk, "100")
    with pytest.raises(InvalidInput, match="no rollout 'x'"):
        look(desk, "shadow", "x")
    assert finish(desk, "rollback", "x")["action"] == "none"


def test_a_failed_start_leaves_its_change_to_the_next_one(desk: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    champion_first(desk)
    change = set_alias(desk, "challenger", "2")
    with monkeypatch.context() as patch, pytest.raises(MissingData):
        patch.setattr("pipelines.deployment.baseline.production", lambda *_: (_ for _ in ()).throw(MissingData("gone")))
        start(desk, change=change, run="broken")
    assert finish(desk, "rollback", "broken")["action"] == "none"
    assert start(desk, change=change, run="whole")["proceed"]
