"""log_candidates, gate, register and resolve_model with real models, SQLite or PostgreSQL records and SQLite MLflow."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pipelines.context import Context
from pipelines.errors import CorruptData, InvalidInput, MissingData
from pipelines.records import DecisionKind
from pipelines.steps import execute
from tests.editing import rewrite
from tests.postgres_fixtures import on_both
from tests.steps.candidates.runs import NET, TREES, evaluations, gate, log, register, with_rules
from tests.synthetic import AS_OF

pytestmark = on_both


def test_without_a_champion_the_floors_decide_and_the_decision_is_recorded(desk: Context) -> None:
    gated = gate(desk)
    losses = {u: desk.data.store.read_json(f"{u}/metrics.json")["metrics"]["log_loss"] for u in evaluations(desk)}
    assert gated["verdict"] == "PASS" and gated["evaluation_uri"] == min(losses, key=losses.__getitem__)
    decision = desk.decisions.get(gated["decision_id"])
    assert decision is not None and decision["verdict"] == "PASS"
    assert {c["family"] for c in decision["evidence"]["candidates"]} == {TREES, NET}
    rules = len(desk.params.gate.floors)
    assert all(len(c["findings"]) == rules for c in decision["evidence"]["candidates"])
    assert gate(desk) == gated and len(desk.decisions.all(DecisionKind.GATE)) == 1


def test_a_champion_is_compared_on_the_same_rows(desk: Context) -> None:
    same = gate(desk, champion=gate(desk)["model_uri"])
    assert same["verdict"] == "PASS"  # nothing is lost with a difference of exactly nothing
    poor = desk.data.uri("models", "r1", TREES)
    better = gate(desk, "r2", champion=poor)
    decision = desk.decisions.get(better["decision_id"])
    assert decision is not None
    champion = decision["evidence"]["champion"]
    assert champion["deltas"]["log_loss_delta"] == pytest.approx(
        decision["evidence"]["chosen"]["metrics"]["log_loss"] - champion["metrics"]["log_loss"]
    )
    assert champion["deltas"]["log_loss_delta_low"] <= champion["deltas"]["log_loss_delta_high"]
    (rule,) = desk.params.gate.against_champion
    assert better["verdict"] == ("PASS" if champion["deltas"][rule.metric] <= rule.threshold else "REJECT")


def test_a_candidate_that_is_not_better_by_the_margin_is_rejected_with_the_reason(desk: Context) -> None:
    strict = with_rules(
        desk, against_champion=[{"metric": "log_loss_delta", "direction": "at_most", "threshold": -0.5}]
    )
    gated = gate(strict, champion=gate(desk)["model_uri"])
    assert gated["verdict"] == "REJECT" and "log_loss_delta is 0.0000, but must be at most -0.5" in gated["reasons"][0]


@pytest.mark.parametrize("harm", ["altered", "missing", "other columns"])
def test_a_champion_that_cannot_be_scored_holds(desk: Context, harm: str) -> None:
    champion = gate(desk, "r2")["model_uri"]
    if harm == "altered":
        graph = Path(f"{champion}/model.onnx")
        graph.write_bytes(graph.read_bytes() + b"\0")
    elif harm == "missing":
        shutil.rmtree(champion)
    else:
        rewrite(f"{champion}/model.json", lambda card: card["inputs"]["numeric"].append("pressure"))
    gated = gate(desk, champion=champion)
    assert gated["verdict"] == "HOLD" and any("champion cannot be scored" in why for why in gated["reasons"])
    assert not register(desk, gated)["registered"]


@pytest.mark.parametrize("value", ["absent", None, float("nan")])
def test_a_metric_that_is_missing_or_nan_holds(desk: Context, value: Any) -> None:
    def harm(evaluation: dict[str, Any]) -> None:
        if value == "absent":
            del evaluation["metrics"]["skill"]
        else:
            evaluation["metrics"]["skill"] = value

    for uri in evaluations(desk):
        rewrite(f"{uri}/metrics.json", harm)
    gated = gate(desk)
    assert gated["verdict"] == "HOLD" and gated["model_uri"] is None
    assert "skill is" in gated["reasons"][0]


def test_one_sound_candidate_is_enough(desk: Context) -> None:
    trees, net = evaluations(desk)
    rewrite(f"{trees}/metrics.json", lambda e: e["metrics"].update(roc_auc=None))
    gated = gate(desk)
    assert gated["verdict"] == "PASS" and gated["evaluation_uri"] == net


def test_candidates_below_the_floor_are_not_registered(desk: Context) -> None:
    strict = with_rules(desk, floors=[{"metric": "roc_auc", "direction": "at_least", "threshold": 0.999}])
    gated = gate(strict)
    assert gated["verdict"] == "REJECT" and gated["family"] is None and len(gated["reasons"]) == 2
    assert register(desk, gated) == {
        "registered": False,
        "version": None,
        "run_id": None,
        "aliases": [],
        "change": None,
    }
    assert desk.models.versions() == []


def test_an_altered_model_or_evaluation_stops_the_gate(desk: Context) -> None:
    trees = desk.data.uri("models", "r1", TREES)
    shutil.copy(f"{desk.data.uri('models', 'r2', TREES)}/model.onnx", f"{trees}/model.onnx")
    with pytest.raises(CorruptData, match=r"model\.onnx has sha256"):
        gate(desk)
    shutil.copy(f"{desk.data.uri('models', 'r2', TREES)}/model.json", f"{trees}/model.json")
    with pytest.raises(CorruptData, match="of another model than the one now in"):
        gate(desk)


def test_altered_scores_stop_the_comparison(desk: Context) -> None:
    champion = gate(desk, "r2")["model_uri"]
    for uri in evaluations(desk):
        shutil.copy(f"{desk.data.uri('evaluations', 'r2', NET)}/scored.parquet", f"{uri}/scored.parquet")
    with pytest.raises(CorruptData, match=r"scored\.parquet is not the file"):
        gate(desk, champion=champion)


def test_candidates_of_different_sets_or_of_another_instant_are_refused(desk: Context) -> None:
    with pytest.raises(InvalidInput, match="different training sets"):
        gate(desk, evaluation_uris=[evaluations(desk, "r1")[0], evaluations(desk, "r2")[1]])
    with pytest.raises(InvalidInput, match="trained as of 2024-04-01"):
        gate(desk, as_of=(AS_OF + timedelta(days=7)).isoformat())


def test_the_first_version_is_champion_and_challenger_and_carries_its_lineage(desk: Context) -> None:
    gated = gate(desk)
    outputs = register(desk, gated)
    assert outputs["registered"] and outputs["version"] == "1" and outputs["aliases"] == ["challenger", "champion"]
    resolved = execute("resolve_model", {}, desk)
    assert resolved["version"] == "1" and resolved["model_uri"] == gated["model_uri"]
    assert resolved["training_set_uri"] == gated["training_set_uri"]
    tags = desk.models.versions()[0].tags
    wanted = {"data_version": "d1", "feature_service": "pumps_v1", "registry_hash": "r1", "git_commit": "c0ffee"}
    assert wanted.items() <= tags.items() and tags["decision_id"] == gated["decision_id"]
    assert tags["sha256"] == resolved["sha256"] and "parent_version" not in tags


def test_registering_again_changes_nothing(desk: Context) -> None:
    gated = gate(desk)
    first = register(desk, gated)
    runs = [run["run_id"] for run in desk.tracker.runs("candidate")]
    assert register(Context(desk.settings, desk.params, desk.usecase), gated) == first
    assert [run["run_id"] for run in desk.tracker.runs("candidate")] == runs
    assert [v.version for v in desk.models.versions()] == ["1"]


def test_the_next_version_challenges_and_a_late_retry_of_the_first_moves_no_alias(desk: Context) -> None:
    first = gate(desk)
    register(desk, first)
    second = gate(desk, "r2")
    outputs = register(desk, second, "r2")
    assert outputs["version"] == "2" and outputs["aliases"] == ["challenger"]
    assert desk.models.versions()[1].tags["parent_version"] == "1"
    desk.models.set_alias("champion", "2")
    register(desk, first)
    assert desk.models.aliases() == {"challenger": "2", "champion": "2"}


def test_a_registration_killed_halfway_is_completed(desk: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    gated = gate(desk)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mlflow.onnx.log_model", lambda *_, **__: killed())
        with pytest.raises(KeyboardInterrupt):
            register(desk, gated)
    with monkeypatch.context() as patch:
        patch.setattr(type(desk.models), "set_alias", killed)
        with pytest.raises(KeyboardInterrupt):
            register(desk, gated)
    assert register(desk, gated)["aliases"] == ["challenger", "champion"]
    assert len(desk.tracker.runs("candidate")) == 2 and len(desk.models.versions()) == 1


def test_nothing_is_registered_without_a_decision_that_passed_this_model(desk: Context) -> None:
    gated = gate(desk)
    rejected = gate(with_rules(desk, floors=[{"metric": "roc_auc", "direction": "at_least", "threshold": 0.999}]), "r2")
    with pytest.raises(InvalidInput, match="is not a recorded gate decision"):
        register(desk, {**gated, "decision_id": "invented"})
    with pytest.raises(InvalidInput, match="is REJECT, not PASS"):
        register(desk, {**gated, "decision_id": rejected["decision_id"]})
    other = next(uri for uri in evaluations(desk) if uri != gated["evaluation_uri"])
    swapped = {"evaluation_uri": other, "model_uri": other.replace("/evaluations/", "/models/")}
    with pytest.raises(InvalidInput, match=r"not .* as it is now"):
        register(desk, {**gated, **swapped})
    with pytest.raises(InvalidInput, match=r"of the model .*, not None"):
        register(desk, {**gated, "model_uri": None})
    with pytest.raises(InvalidInput, match="of the model"):
        register(desk, {**gated, "evaluation_uri": other})
    with pytest.raises(InvalidInput, match="of the training set"):
        register(desk, {**gated, "training_set_uri": desk.data.uri("training_sets", "r2")})
    with pytest.raises(InvalidInput, match="evaluation_uri is missing"):
        register(desk, {**gated, "evaluation_uri": None})
    assert desk.models.versions() == []


def test_nothing_is_registered_from_a_run_that_is_not_the_models(desk: Context) -> None:
    gated, runs = gate(desk), log(desk)
    family = gated["family"]
    with pytest.raises(InvalidInput, match=f"runs names no run of {family}"):
        register(desk, gated, runs={})
    with pytest.raises(InvalidInput, match="is another model's"):
        register(desk, gated, runs={family: runs[NET if family == TREES else TREES]})
    with pytest.raises(MissingData, match="has no run"):
        register(desk, gated, runs={family: "0" * 32})
    assert desk.models.versions() == []
