"""The deployment chain outside of Airflow, over real models and records; which change of the alias it rolls out."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipelines import chains
from pipelines.clock import ReplayClock
from pipelines.context import Context
from pipelines.errors import CheckFailed, MissingData
from pipelines.steps import execute
from pipelines.walk import walk
from tests.postgres_fixtures import on_both
from tests.rollouts import Score, inverted, same, set_alias, started_over, traffic
from tests.services import thorough

pytestmark = on_both
START = datetime(2024, 4, 1, tzinfo=UTC)


@pytest.fixture
def desk(versions_home: Path, tmp_path: Path, records_place: str, monkeypatch: pytest.MonkeyPatch) -> Context:
    monkeypatch.setattr("pipelines.deployment.aliases.GRACE", 0.0)
    monkeypatch.setenv("FLIGHTDECK_RECORDS_URI", records_place)
    return started_over(versions_home, tmp_path / "home", START)


def roll_out(context: Context, version: str, run: str, change: int | None, ours: Score = same) -> dict[str, Any]:
    """The chain's outputs; a day of traffic passes whenever the judge holds."""
    clock = ReplayClock(context.records.simulated_time("pumps"))

    def run_step(step: str, inputs: dict[str, Any]) -> dict[str, Any]:
        while (outputs := execute(step, inputs, context)).get("action") == "HOLD":
            traffic(context, clock.advance, 1, ours)
        return outputs

    given = {"version": version, "change": change, "actor": "test", "run": run}
    return walk(chains.deployment, {**given, "stages": context.params.rollout.names}, run_step)


@thorough
def test_the_first_and_an_equal_model_are_promoted_and_a_worse_one_is_rolled_back(desk: Context) -> None:
    change = set_alias(desk, "challenger", "1")
    set_alias(desk, "champion", "1")
    first = roll_out(desk, "1", "first", change)
    assert list(first) == ["start_rollout", "preflight", "finish_rollout"]
    assert first["finish_rollout"]["reason"].startswith("the first model: it passed preflight")
    again = roll_out(desk, "1", "again", change)
    assert list(again) == ["start_rollout"], "this change of the alias has had its rollout"

    equal = roll_out(desk, "2", "equal", None)
    assert equal["judge_rollout"]["action"] == "PROMOTE" and equal["set_stage"]["in_force"]
    assert equal["finish_rollout"]["action"] == "promote" and desk.models.aliases()["champion"] == "2"

    worse = roll_out(desk, "3", "worse", None, inverted)
    ended = worse["finish_rollout"]
    assert (ended["rollout"], ended["action"], ended["champion"]) == ("worse", "rollback", "2")
    last = desk.ledger.entries()[-1]
    assert (last.action, last.evidence["decision_id"]) == ("rollback", worse["judge_rollout"]["decision_id"])


def test_the_newest_of_several_alias_changes_is_rolled_out(desk: Context) -> None:
    training = {"version": "2", "change": 3, "actor": "training"}
    watcher = {"version": "1", "change": 4, "actor": "alias"}
    unset = {"version": "3", "change": None, "actor": "training"}
    chosen = execute("choose_challenger", {"changes": [watcher, training, unset]}, desk)
    assert {key: chosen[key] for key in watcher} == watcher
    nothing = execute("choose_challenger", {"changes": [unset]}, desk)
    assert nothing["version"] is None and nothing["why"].startswith("no change of the alias came with version 3")


def test_without_a_change_the_given_version_or_the_one_with_the_alias_is_rolled_out(desk: Context) -> None:
    with pytest.raises(CheckFailed, match="no version has the alias challenger; give a version"):
        execute("choose_challenger", {}, desk)
    set_alias(desk, "challenger", "2")
    by_alias, given = (execute("choose_challenger", inputs, desk) for inputs in ({}, {"version": "3"}))
    assert (by_alias["version"], by_alias["change"], by_alias["actor"]) == ("2", None, "form")
    assert given["version"] == "3"


def test_an_alias_on_a_version_that_the_chain_did_not_register_is_refused(desk: Context) -> None:
    strange = desk.tracker.client.create_model_version("pumps", "file:///nowhere")
    desk.models.set_alias("challenger", strange.version)
    with pytest.raises(MissingData, match=f"no version {strange.version} of the chain"):
        execute("choose_challenger", {}, desk)


def test_a_missing_required_model_stops_the_chain(desk: Context) -> None:
    assert execute("resolve_model", {"alias": "champion"}, desk)["version"] is None
    with pytest.raises(CheckFailed, match="there is no champion; train and register a model first"):
        execute("resolve_model", {"alias": "champion", "required": True}, desk)
