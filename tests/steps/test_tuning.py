"""train with trials, folds, latency and calibration; evaluate with costs, importance and behaviour."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest

from pipelines.context import Context
from pipelines.errors import CheckFailed, CorruptData, InvalidInput
from pipelines.metrics.costs import row_costs
from pipelines.params.training import Training
from pipelines.steps import execute
from pipelines.training.families import hist_gradient_boosting as trees
from pipelines.training.families import mlp
from pipelines.training.tasks import Task
from tests.conftest import tree_hashes
from tests.editing import rewrite
from tests.services import thorough
from tests.synthetic import context_over, frame, write_training_set
from tests.unit.test_families import fit, graph_of

TREES, LINE, NET = "hist_gradient_boosting", "logistic_regression", "mlp"


class Killed(BaseException):
    """As a signal ends a process: nothing that runs afterwards writes anything."""


def with_training(context: Context, **changes: Any) -> Context:
    training = Training.model_validate({**context.params.training.model_dump(), **changes})
    return Context(context.settings, context.params.model_copy(update={"training": training}), context.usecase)


@pytest.fixture
def desk(tmp_path: Path) -> Context:
    return context_over(tmp_path / "home")


def train(context: Context, uri: str, family: str = LINE, run: str = "r1", **changes: Any) -> dict[str, Any]:
    return execute("train", {"family": family, "training_set_uri": uri, "run": run, **changes}, context)


def evaluate(context: Context, uri: str, model_uri: str) -> dict[str, Any]:
    outputs = execute("evaluate", {"model_uri": model_uri, "training_set_uri": uri, "run": "r1"}, context)
    return dict(context.data.store.read_json(f"{outputs['evaluation_uri']}/metrics.json"))


def card(context: Context, outputs: dict[str, Any]) -> dict[str, Any]:
    return dict(context.data.store.read_json(f"{outputs['model_uri']}/model.json"))


@thorough
@pytest.mark.parametrize("family", [TREES, NET])
@pytest.mark.parametrize("killed_at", [1, 3])
def test_a_killed_search_resumes_to_the_same_result(
    desk: Context, monkeypatch: pytest.MonkeyPatch, family: str, killed_at: int
) -> None:
    desk, uri = with_training(desk, refit=False), write_training_set(desk, "s", rows=1200)
    whole = train(desk, uri, family, "whole", trials=4)
    module = trees if family == TREES else mlp
    honest = module.fit
    fits: list[int] = []

    def counted(*arguments: Any, **named: Any) -> Any:
        if len(fits) == killed_at:
            raise Killed
        fits.append(1)
        return honest(*arguments, **named)

    monkeypatch.setattr(module, "fit", counted)
    with pytest.raises(Killed):
        train(desk, uri, family, "killed", trials=4)
    journal = Path(desk.data.uri("tuning", "killed", f"{family}.json"))
    assert len(json.loads(journal.read_text())["records"]) == killed_at
    fits.clear()

    def to_the_end(*arguments: Any, **named: Any) -> Any:
        fits.append(1)
        return honest(*arguments, **named)

    monkeypatch.setattr(module, "fit", to_the_end)
    again = train(desk, uri, family, "killed", trials=4)
    assert {**again, "model_uri": whole["model_uri"]} == whole
    assert 4 - killed_at <= len(fits) <= 4 - killed_at + 1  # the best may have to be fitted once more
    folders = [Path(model["model_uri"]) for model in (whole, again)]
    assert tree_hashes(folders[0]) == tree_hashes(folders[1]) and not journal.exists()


def test_trials_of_another_search_are_not_resumed(desk: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.training.families import logistic_regression as line

    honest = line.fit
    fits: list[int] = []

    def once(*arguments: Any, **named: Any) -> Any:
        if len(fits) == 1:
            raise Killed
        fits.append(1)
        return honest(*arguments, **named)

    monkeypatch.setattr(line, "fit", once)
    with pytest.raises(Killed):
        train(desk, write_training_set(desk, "s"), trials=2, seed=1)
    monkeypatch.setattr(line, "fit", honest)
    assert train(desk, write_training_set(desk, "s"), trials=2, seed=2) == train(
        desk, write_training_set(desk, "s"), trials=2, seed=2
    )
    fits.clear()
    monkeypatch.setattr(line, "fit", once)
    with pytest.raises(Killed):
        train(desk, write_training_set(desk, "s"), trials=2)
    other = write_training_set(desk, "t", seed=9)
    monkeypatch.setattr(line, "fit", honest)
    assert train(desk, other, trials=2)["trials"] == train(desk, other, run="r2", trials=2)["trials"]


def test_networks_report_their_epochs_and_trees_do_not() -> None:
    heard: dict[str, list[int]] = {TREES: [], NET: []}
    for family, module in ((TREES, trees), (NET, mlp)):
        plain, honest = graph_of(fit(family, frame(2000, 1), frame(500, 2))), module.fit

        def reporting(task: Task, settings: Any, honest: Any = honest, steps: list[int] = heard[family]) -> Any:
            return honest(replace(task, report=lambda step, loss: steps.append(step)), settings)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "fit", reporting)
            assert graph_of(fit(family, frame(2000, 1), frame(500, 2))) == plain
    assert heard[TREES] == [] and heard[NET][:2] == [1, 2]  # a small learning rate would look bad after few trees


def test_a_time_budget_ends_a_search_after_its_first_trial_at_the_earliest(desk: Context) -> None:
    hurried = with_training(desk, tuning={"minutes": 1e-9})
    assert len(train(hurried, write_training_set(desk, "s"), trials=5)["trials"]) == 1


def test_folds_validate_on_later_days_and_the_model_is_fitted_on_the_whole_window(
    desk: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.training.families import logistic_regression as line

    desk, uri = with_training(desk, refit=False), write_training_set(desk, "s")
    seen: list[tuple[Any, Any]] = []
    honest = line.fit

    def watched(task: Task, settings: Any) -> Any:
        seen.append((task.train["local_day"], task.validation["local_day"]))
        return honest(task, settings)

    monkeypatch.setattr(line, "fit", watched)
    model = train(with_training(desk, tuning={"folds": 3, "fold_days": 3}), uri, trials=2)
    embargo = pd.Timedelta(days=desk.params.splits.embargo_days)
    assert len(seen) == 7 and all(max(before) + embargo < min(after) for before, after in seen[:6])
    whole = train(desk, uri, run="plain")
    assert len(seen[6][0]) == 3000
    if model["best_trial"] == 0:
        assert model["sha256"] == whole["sha256"]
    assert model["trials"][0]["validation_log_loss"] != whole["trials"][0]["validation_log_loss"]
    with pytest.raises(InvalidInput, match="too few for 9 folds"):
        train(with_training(desk, tuning={"folds": 9, "fold_days": 9}), uri)


def test_with_a_latency_budget_only_quick_models_may_win(desk: Context) -> None:
    uri = write_training_set(desk, "s")
    tuning = {"pruning": False, "latency": {"budget_ms": 1000, "calls": 20}}
    model = train(with_training(desk, tuning=tuning), uri, trials=3)
    assert all(trial["latency_ms"] > 0 for trial in model["trials"])
    kept = desk.data.store.read_json(f"{model['model_uri']}/trials.json")
    assert kept["best_trial"] == model["best_trial"] and model["best_trial"] in kept["pareto_front"]
    tuning["latency"] = {"budget_ms": 1e-6, "calls": 20}
    with pytest.raises(CheckFailed, match="scores a row within"):
        train(with_training(desk, tuning=tuning), uri, trials=2, run="r2")


@pytest.mark.parametrize("family", [TREES, NET, LINE])
@pytest.mark.parametrize("method", ["none", "platt", "isotonic"])
def test_a_calibration_is_part_of_the_graph_and_of_the_card(desk: Context, family: str, method: str) -> None:
    uri = write_training_set(desk, "s")
    outputs = train(with_training(desk, calibration=method), uri, family)
    facts = card(desk, outputs)["calibration"]
    assert facts["asked"] == facts["method"] == method
    nodes = [n.op_type for n in onnx.load(f"{outputs['model_uri']}/model.onnx").graph.node][-8:]
    assert ("Sigmoid" in nodes) == (method != "isotonic")  # train itself refuses a graph that disagrees


def test_auto_reports_the_loss_of_each_method_and_does_not_calibrate_a_window_of_one_class(desk: Context) -> None:
    facts = card(desk, train(desk, write_training_set(desk, "s")))["calibration"]
    assert set(facts["held_out_log_loss"]) == {"none", "platt", "isotonic"} and facts["asked"] == "auto"
    single = write_training_set(desk, "t", validation=frame(300, 5).assign(label=0.0))
    assert card(desk, train(desk, single))["calibration"]["method"] == "none"
    with pytest.raises(CheckFailed, match="every validation label is the same"):
        train(with_training(desk, calibration="platt"), single)


def test_the_cost_is_evaluated_at_the_threshold_of_the_card(desk: Context) -> None:
    uri = write_training_set(desk, "s")
    outputs = train(desk, uri)
    threshold = card(desk, outputs)["threshold"]
    assert threshold["costs"] == desk.params.costs.model_dump() and 0 < threshold["value"] < 1
    evaluation = evaluate(desk, uri, outputs["model_uri"])
    scored = desk.data.store.read_table(desk.data.uri("evaluations", "r1", LINE, "scored.parquet")).to_pandas()
    cost = row_costs(scored["label"], scored["score"], threshold["value"], desk.params.costs).mean()
    low, high = evaluation["intervals"]["cost"]
    assert evaluation["metrics"]["cost"] == pytest.approx(cost) and low < cost < high
    assert evaluation["threshold"]["alarms"] == pytest.approx((scored["score"] >= threshold["value"]).mean())

    rewrite(f"{outputs['model_uri']}/model.json", lambda card: card.update(threshold=None))
    with pytest.raises(CorruptData, match=r"model\.json has None as threshold .*; train the model again"):
        evaluate(desk, uri, outputs["model_uri"])


def test_an_evaluation_holds_importance_months_and_behaviour(desk: Context) -> None:
    uri = write_training_set(desk, "s")
    evaluation = evaluate(desk, uri, train(desk, uri)["model_uri"])
    assert {one["name"]: one["status"] for one in evaluation["behaviour"]} == dict.fromkeys(
        ("noise", "larger", "ranks"), "passed"
    )
    assert evaluation["metrics"]["behaviour_failures"] == 0
    assert [(s["value"], s["rows"]) for s in evaluation["slices"]["month"]] == [("2024-03", 1500)]
    folder = desk.data.uri("evaluations", "r1", LINE)
    importance = pd.read_csv(f"{folder}/importance.csv")
    assert set(importance["input"][:2]) == {"x", "kind"} and len(importance) == 5
    assert pd.read_csv(f"{folder}/cost.csv")["cost"].min() <= evaluation["metrics"]["cost"] + 1e-9


def test_a_model_that_misbehaves_is_counted(desk: Context) -> None:
    turned: dict[str, Any] = {
        **{name: frame(3000, 1).assign(label=lambda f: 1 - f["label"]) for name in ("train", "validation")}
    }
    uri = write_training_set(desk, "s", **turned)
    evaluation = evaluate(desk, uri, train(desk, uri)["model_uri"])
    assert {one["name"] for one in evaluation["behaviour"] if one["status"] == "failed"} == {"larger", "ranks"}
    assert evaluation["metrics"]["behaviour_failures"] == 2
    silent = Context(desk.settings, desk.params.model_copy(update={"behaviour": ()}), desk.usecase)
    assert evaluate(silent, uri, desk.data.uri("models", "r1", LINE))["metrics"]["behaviour_failures"] is None


def test_trials_are_child_runs_of_their_candidate_and_logging_twice_adds_none(desk: Context) -> None:
    uri = write_training_set(desk, "s")
    model = train(desk, uri, trials=3)
    evaluate(desk, uri, model["model_uri"])
    uris = {"evaluation_uris": [desk.data.uri("evaluations", "r1", LINE)]}
    runs = execute("log_candidates", uris, desk)["runs"]
    trials = desk.tracker.runs("trial")
    assert [run["name"] for run in trials] == ["trial 0", "trial 1", "trial 2"]
    assert {run["tags"]["mlflow.parentRunId"] for run in trials} == {runs[LINE]}
    for run, trial in zip(trials, model["trials"], strict=True):
        assert run["metrics"]["validation_log_loss"] == pytest.approx(trial["validation_log_loss"])
    params = desk.tracker.client.get_run(runs[LINE]).data.params
    assert params["calibration"] == card(desk, model)["calibration"]["method"]
    assert float(params["threshold"]) == card(desk, model)["threshold"]["value"]
    assert execute("log_candidates", uris, desk)["runs"] == runs and desk.tracker.runs("trial") == trials

    other = train(desk, uri, trials=2, seed=5)  # another candidate in its place takes the children along
    evaluate(desk, uri, other["model_uri"])
    execute("log_candidates", uris, desk)
    alive = {run["run_id"] for run in desk.tracker.runs("candidate")}
    assert {run["tags"]["mlflow.parentRunId"] for run in desk.tracker.runs("trial")} <= alive
    assert np.isfinite([run["metrics"]["validation_log_loss"] for run in desk.tracker.runs("trial")]).all()
