"""Candidates, models and reports in MLflow. Records are in SQLite alone: no test here depends on what they hold."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from pipelines.context import Context
from pipelines.errors import InvalidInput, MissingData
from pipelines.steps import execute
from tests.editing import rewrite
from tests.steps.candidates.runs import NET, TREES, gate, log, register
from tests.synthetic import context_over, frame


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
