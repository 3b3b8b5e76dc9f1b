"""A model that does not serve as it was evaluated serves no traffic."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipelines.context import Context
from pipelines.errors import CheckFailed, CorruptData
from pipelines.steps import execute
from tests.editing import edit
from tests.postgres_fixtures import on_both
from tests.rollouts import set_alias
from tests.steps.deployment.rollout import champion_first, finish, in_force, stage, start

pytestmark = on_both


def test_an_edited_evaluation_gives_no_baseline(desk: Context) -> None:
    champion_first(desk)
    set_alias(desk, "challenger", "2")
    challenger = desk.models.require("2")  # its test window gives the champion's loss and the scatter of the pair
    edit(f"{challenger.evaluation_uri}/metrics.json", lambda e: e["metrics"].update(brier=0.5))
    with pytest.raises(CorruptData, match=r"metrics\.json was altered"):
        start(desk)
    assert in_force(desk).champion == "1" and in_force(desk).challenger is None


def test_every_plan_names_the_digests_of_its_versions(desk: Context) -> None:
    known: dict[str | None, str | None] = {one.version: one.sha256 for one in desk.models.versions()}
    known[None] = None
    seen = []

    def check_digests() -> None:
        plan = in_force(desk)
        assert (plan.champion_sha256, plan.challenger_sha256) == (known[plan.champion], known[plan.challenger])
        seen.append((plan.champion, plan.challenger))

    champion_first(desk)
    check_digests()
    for run, ending in (("a", "rollback"), ("b", "promote")):
        start(desk, run=run)
        stage(desk, "shadow", run)
        check_digests()
        finish(desk, ending, run)
        check_digests()
    desk.models.set_alias("champion", "3")
    execute("reconcile_aliases", {}, desk)
    check_digests()
    assert seen == [("1", None), ("1", "2"), ("1", None), ("1", "2"), ("2", None), ("3", None)]


def test_preflight_passes_an_unchanged_model(desk: Context) -> None:
    champion_first(desk)
    set_alias(desk, "challenger", "2")
    start(desk)
    seen = execute("preflight", {"rollout": "a", "version": "2"}, desk)
    assert seen["rows"] == 200 and seen["max_difference"] <= 1e-5 and seen["p95_ms"] > 0


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        ("altered", "has sha256"),
        ("missing", "does not exist"),
        ("other", "registered is"),
        ("scores", "from the recorded"),
        ("evaluation", r"metrics\.json was altered"),
    ],
)
def test_an_altered_artifact_fails_preflight_and_the_champion_stays(desk: Context, harm: str, reason: str) -> None:
    champion_first(desk)
    set_alias(desk, "challenger", "2")
    start(desk)
    second, third = desk.models.resolve(version="2"), desk.models.resolve(version="3")
    assert second and third
    if harm == "altered":
        graph = Path(second.model_uri) / "model.onnx"
        graph.write_bytes(graph.read_bytes() + b"\0")
    elif harm == "missing":
        shutil.rmtree(second.model_uri)
    elif harm == "other":
        for file in Path(third.model_uri).iterdir():
            shutil.copy(file, second.model_uri)
    elif harm == "evaluation":
        edit(f"{second.evaluation_uri}/metrics.json", lambda e: e["metrics"].update(brier=0.01))
    else:
        desk.tracker.client.set_model_version_tag("pumps", "2", "evaluation_uri", third.evaluation_uri)
    with pytest.raises(CheckFailed, match=f"version 2 may not serve: .*{reason}.*; the champion stays"):
        execute("preflight", {"rollout": "a", "version": "2"}, desk)
    assert finish(desk, "rollback")["champion"] == "1" and desk.models.aliases() == {"champion": "1"}


def test_a_first_model_that_fails_preflight_is_no_champion(desk: Context) -> None:
    change = set_alias(desk, "challenger", "1")
    set_alias(desk, "champion", "1")
    assert start(desk, "1", "first", change=change)["direct"]
    ended = {"rollout": "first", "action": "rollback", "reason": "because", "champion": None}
    assert finish(desk, "rollback", "first") == ended
    assert desk.models.aliases() == {} and desk.plans.current() is None
    change = set_alias(desk, "challenger", "2")
    assert start(desk, "2", "second", change=change)["direct"]
