"""log_candidates, gate, register and resolve_model with real models, SQLite or PostgreSQL records and SQLite MLflow."""

from __future__ import annotations

import os
import shutil
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.context import Context
from pipelines.errors import CorruptData, InvalidInput, MissingData
from pipelines.records import DecisionKind
from pipelines.steps import execute
from tests.editing import rewrite
from tests.homes import copy_home, put_back
from tests.postgres_fixtures import on_both
from tests.synthetic import AS_OF, context_over, frame, write_training_set

TREES, NET = "hist_gradient_boosting", "mlp"


def candidates(context: Context, run: str, seed: int = 1, **changes: Any) -> tuple[str, list[str]]:
    """Both families, trained and evaluated."""
    uri = write_training_set(context, run, seed, **changes)
    shared = {"training_set_uri": uri, "run": run}
    trained = [execute("train", {**shared, "family": family}, context) for family in (TREES, NET)]
    outputs = [execute("evaluate", {**shared, "model_uri": model["model_uri"]}, context) for model in trained]
    return uri, [evaluation["evaluation_uri"] for evaluation in outputs]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two runs of two candidates and an empty MLflow database, copied into place by `desk`."""
    home = tmp_path_factory.mktemp("template") / "home"
    context = context_over(home)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("FLIGHTDECK_COMMIT", "c0ffee")
        candidates(context, "r1")
        candidates(context, "r2", seed=7, rows=6000)
    assert context.models.versions() == []
    return home


@pytest.fixture
def desk(template: Path, tmp_path: Path, records_place: str) -> Context:
    """The template's home, put back as it was: paths inside it are absolute, so it cannot move."""
    kept = template.with_name("kept")
    if not kept.exists():
        copy_home(template, kept)
    put_back(template, kept)
    database = shutil.copy(
        template / "mlflow" / "mlflow.db", tmp_path
    )  # MLflow keeps a connection to each it has opened
    return context_over(template, mlflow_uri=f"sqlite:///{database}", records_uri=records_place)


def evaluations(context: Context, run: str = "r1") -> list[str]:
    return [context.data.uri("evaluations", run, family) for family in (TREES, NET)]


def gate(context: Context, run: str = "r1", champion: str | None = None, **changes: Any) -> dict[str, Any]:
    given = {"evaluation_uris": evaluations(context, run), "champion_uri": champion, "as_of": AS_OF.isoformat()}
    return execute("gate", {**given, "run": run, **changes}, context)


def log(context: Context, run: str = "r1") -> dict[str, str]:
    return dict(execute("log_candidates", {"evaluation_uris": evaluations(context, run)}, context)["runs"])


def register(context: Context, gated: dict[str, Any], run: str = "r1", **changes: Any) -> dict[str, Any]:
    given = {k: gated[k] for k in ("verdict", "decision_id", "model_uri", "evaluation_uri", "training_set_uri")}
    return execute("register", {**given, "runs": log(context, run), **changes}, context)


def with_rules(context: Context, **rules: Any) -> Context:
    """The same context with other gates."""
    from pipelines.params.gates import GateRules

    gates = GateRules.model_validate({**context.params.gate.model_dump(), **rules})
    return Context(context.settings, context.params.model_copy(update={"gate": gates}), context.usecase)


@on_both
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


@on_both
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


@on_both
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


@on_both
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


def test_candidates_are_logged_once_with_their_lineage_whatever_the_verdict(desk: Context) -> None:
    runs = log(desk)
    gate(desk)
    assert log(Context(desk.settings, desk.params, desk.usecase)) == runs and set(runs) == {TREES, NET}
    assert {run["run_id"] for run in desk.tracker.runs("candidate")} == set(runs.values())
    for run in desk.tracker.runs("candidate"):
        assert run["tags"]["data_version"] == "d1" and run["tags"]["git_commit"] == "c0ffee"
        assert "decision_id" not in run["tags"] and "mlflow.parentRunId" not in run["tags"]
        assert run["metrics"]["roc_auc_low"] < run["metrics"]["roc_auc"] < run["metrics"]["roc_auc_high"]
        cleaned = desk.data.store.read_json(f"{run['tags']['evaluation_uri']}/metrics.json")["cleaning"]
        shares = {f"{what}_share_{window}" for what in ("capped", "missing", "imputed") for window in cleaned}
        assert len(shares) == 9 and shares <= set(run["metrics"])
        assert run["metrics"]["capped_share_train"] == cleaned["train"]["capped_share"] > 0
        files = {file.path for file in desk.tracker.client.list_artifacts(run["run_id"])}
        assert {"cleaning.json", "model.json"} <= files


def test_two_candidates_of_one_family_are_refused(desk: Context) -> None:
    twice = [desk.data.uri("evaluations", run, NET) for run in ("r1", "r2")]
    with pytest.raises(InvalidInput, match="give one evaluation for each family"):
        execute("log_candidates", {"evaluation_uris": twice}, desk)


def test_within_a_run_of_mlflow_the_candidates_are_its_children(desk: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = log(desk)
    parent = desk.tracker.client.create_run(desk.tracker.experiment_id, run_name="project").info.run_id
    monkeypatch.setenv("MLFLOW_TRACKING_URI", desk.settings.mlflow)
    monkeypatch.setenv("MLFLOW_RUN_ID", parent)
    inside = context_over(desk.settings.home)
    children = log(inside)
    assert not set(children.values()) & {*alone.values(), parent} and log(inside) == children
    for run_id in children.values():
        assert inside.tracker.client.get_run(run_id).data.tags["mlflow.parentRunId"] == parent
    kept = desk.tracker.client.get_run(parent)
    assert kept.info.run_name == "project" and not kept.data.params and not kept.data.metrics
    assert os.environ["MLFLOW_RUN_ID"] == parent and os.environ["MLFLOW_TRACKING_URI"] == desk.settings.mlflow
    elsewhere = context_over(desk.settings.home, mlflow_uri=desk.settings.mlflow + "?timeout=5")
    assert elsewhere.settings.mlflow_parent is None, "a parent lies where the candidates do, or there is none"


def test_mlflow_leaves_the_environment_as_it_was(desk: Context) -> None:
    desk.models.versions()
    assert "MLFLOW_TRACKING_URI" not in os.environ and "MLFLOW_REGISTRY_URI" not in os.environ


def test_an_invalid_registry_uri_and_files_behind_a_server_are_named(desk: Context) -> None:
    with pytest.raises(InvalidInput, match=r"cannot be at './mlruns'; set FLIGHTDECK_MLFLOW_URI"):
        log(context_over(desk.settings.home, mlflow_uri="./mlruns"))
    served = context_over(desk.settings.home, name="served", mlflow_uri=desk.settings.mlflow)
    served.tracker.client.create_experiment("served", artifact_location="mlflow-artifacts:/9")
    experiment = served.tracker.client.get_experiment_by_name("served").experiment_id
    run_id = served.tracker.client.create_run(experiment).info.run_id
    for ask in (
        lambda: served.tracker.runs("candidate"),
        lambda: served.tracker.read_attachment(run_id, "", "params.json"),
        lambda: served.tracker.attach(run_id, "", {"a": b""}),
    ):
        with pytest.raises(InvalidInput, match="an MLflow server keeps the files of experiment served"):
            ask()


@on_both
def test_registering_again_changes_nothing(desk: Context) -> None:
    gated = gate(desk)
    first = register(desk, gated)
    runs = [run["run_id"] for run in desk.tracker.runs("candidate")]
    assert register(Context(desk.settings, desk.params, desk.usecase), gated) == first
    assert [run["run_id"] for run in desk.tracker.runs("candidate")] == runs
    assert [v.version for v in desk.models.versions()] == ["1"]


@on_both
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


@on_both
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


def test_the_logged_model_gives_our_scores(desk: Context) -> None:
    outputs = register(desk, gate(desk))
    import mlflow
    from pipelines.artifacts.scorer import load_scorer, model_arrays

    desk.tracker.client  # noqa: B018  (points MLflow at this home)
    logged = mlflow.pyfunc.load_model(f"models:/pumps/{outputs['version']}")
    ours = load_scorer(desk.data.store, desk.models.versions()[0].model)
    rows = frame(50, 3)
    numeric, categorical = model_arrays(rows, ours.inputs)
    scores = logged.predict({"numeric": numeric, "categorical": categorical})["score"]
    np.testing.assert_allclose(scores, ours.score(rows), atol=1e-6)


@on_both
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


@on_both
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


def test_resolving_says_when_there_is_no_champion(desk: Context) -> None:
    assert set(execute("resolve_model", {"alias": "champion"}, desk).values()) == {None}
    with pytest.raises(MissingData, match="no version 7 of the chain; there are: none"):
        execute("resolve_model", {"version": "7"}, desk)


def test_reports_are_logged_once_per_run_and_replaced_when_they_change(desk: Context) -> None:
    def report(content: bytes) -> str:
        return desk.tracker.log_report(run="m1", model_version="1", metrics={"drift": 0.2}, files={"a.html": content})

    first = report(b"one")
    assert report(b"one") == first
    second = report(b"two")
    assert second != first and [r["run_id"] for r in desk.tracker.runs("report")] == [second]
    assert desk.tracker.run_metrics(second) == {"drift": 0.2}


def test_mlflow_does_not_import_feast_and_leaves_it_usable(desk: Context) -> None:
    desk.models.versions()
    assert sys.modules.get("feast.infra.data_sources.mlflow.auth", 0) is not None


def test_a_candidates_run_holds_the_data_docs_of_its_data(desk: Context) -> None:
    windows = ["2024-01-01_2024-02-01", "2024-01-20_2024-03-01", "2024-02-01_2024-02-02"]
    for window in windows:
        desk.data.store.write_bytes(desk.data.uri("reports", "validation", window, "index.html"), window.encode())
    rewrite(f"{desk.data.uri('training_sets', 'r1')}/manifest.json", lambda m: m.update(validations=windows))
    runs = log(desk)
    client = desk.tracker.client
    for run_id in runs.values():
        named = {file.path for file in client.list_artifacts(run_id, "data_docs")}
        assert named == {"data_docs/index.html", "data_docs/windows.json"}
        assert Path(client.download_artifacts(run_id, "data_docs/index.html")).read_text() == windows[1]
        assert client.get_run(run_id).data.tags["data_docs_uri"] == desk.data.uri(
            "reports", "validation", windows[1], "index.html"
        )
    desk.data.store.write_bytes(desk.data.uri("reports", "validation", windows[1], "index.html"), b"written anew")
    assert log(desk) == runs  # a registered version names its run: it must not be written again for a new page
