"""train and evaluate over a store of their own: what they write, what they refuse, and that twice gives the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pipelines.artifacts.model import ModelRef
from pipelines.artifacts.scorer import load_scorer
from pipelines.artifacts.seal import write_sealed
from pipelines.context import Context
from pipelines.errors import CheckFailed, CorruptData, InvalidInput, MissingData
from pipelines.metric_names import EVALUATED, FLOORS, FURTHER, further_metric
from pipelines.params.training import Training
from pipelines.steps import execute
from pipelines.training.families import MODULES
from pipelines.usecase import ModelInputs
from tests.artifacts import model_card
from tests.conftest import tree_hashes
from tests.services import thorough
from tests.synthetic import AUXILIARY, context_over, frame, write_training_set

FAMILY = "hist_gradient_boosting"


@pytest.fixture
def desk(tmp_path: Path) -> Context:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("training must not reach MLflow")

    return context_over(tmp_path / "home").replaced(tracker=SimpleNamespace(__getattr__=refuse))


def with_training(context: Context, **changes: Any) -> Context:
    """The same context with other values in `training` of params.yaml."""
    training = Training.model_validate({**context.params.training.model_dump(), **changes})
    params = context.params.model_copy(update={"training": training})
    return Context(context.settings, params, context.usecase)


def train(context: Context, uri: str, **changes: Any) -> dict[str, Any]:
    return execute("train", {"family": FAMILY, "training_set_uri": uri, "run": "r1", **changes}, context)


def evaluate(context: Context, uri: str, model_uri: str, run: str = "r1") -> dict[str, Any]:
    return execute("evaluate", {"model_uri": model_uri, "training_set_uri": uri, "run": run}, context)


@pytest.mark.parametrize("family", sorted(MODULES))
def test_a_model_is_trained_and_evaluated_with_its_card_and_repeatably(desk: Context, family: str) -> None:
    uri = write_training_set(desk, "s")
    outputs = train(desk, uri, family=family)
    result = evaluate(desk, uri, outputs["model_uri"])
    first = tree_hashes(desk.settings.root)
    assert train(desk, uri, family=family) == outputs and evaluate(desk, uri, outputs["model_uri"]) == result
    assert tree_hashes(desk.settings.root) == first

    card = desk.data.store.read_json(f"{outputs['model_uri']}/model.json")
    assert card["family"] == family and card["sha256"]["model.onnx"] == outputs["sha256"]
    assert card["training_set"]["data_version"] == "d1" and card["training_set"]["uri"] == uri
    assert {"python", "onnx"} < set(card["environment"]) and card["seed"] == desk.params.training.seed

    evaluation = desk.data.store.read_json(f"{result['evaluation_uri']}/metrics.json")
    assert result["metrics"] == evaluation["metrics"] and result["metrics"]["roc_auc"] > 0.75
    further = [AUXILIARY] if family == "mmoe" else []
    of_further = {further_metric(name, metric) for name in further for metric in FURTHER}
    assert set(result["metrics"]) == {*EVALUATED, *of_further} and not of_further & set(FLOORS)
    assert card.get("further", []) == further
    low, high = evaluation["intervals"]["roc_auc"]
    assert low < result["metrics"]["roc_auc"] < high
    assert {s["value"] for s in evaluation["slices"]["kind"]} == {"a", "b", "c", "d", "(missing)"}
    assert evaluation["worst_slice"]["rows"] >= 100
    scored = desk.data.store.read_table(f"{result['evaluation_uri']}/scored.parquet").to_pandas()
    assert len(scored) == 1500 and scored["score"].between(0, 1).all() and "kind" in scored


@pytest.mark.parametrize("family", sorted(MODULES))
def test_what_cleaning_changed_is_counted_in_every_window(desk: Context, family: str) -> None:
    def dirty(outputs: pd.DataFrame) -> pd.DataFrame:
        return outputs.assign(
            x=outputs["x"].where(outputs.index >= 3, np.float32(1e9)), y=outputs["y"].where(outputs.index >= 2)
        )

    changed: dict[str, Any] = {"validation": dirty(frame(1000, 101)), "test": dirty(frame(1500, 201))}
    uri = write_training_set(desk, "s", **changed)
    outputs = train(desk, uri, family=family)
    evaluation = evaluate(desk, uri, outputs["model_uri"])
    card = desk.data.store.read_json(f"{outputs['model_uri']}/model.json")["cleaning"]
    report = desk.data.store.read_json(f"{evaluation['evaluation_uri']}/cleaning.json")
    assert report["columns"] == card["columns"] and list(report["counts"]) == ["test", "train", "validation"]
    assert {name: report["counts"][name] for name in card["counts"]} == card["counts"]
    filled = family != FAMILY
    for name, rows in (("validation", 1000), ("test", 1500)):
        counted = report["counts"][name]
        frame_, columns = changed[name], counted["columns"]
        low, high = (card["columns"]["x"][end] for end in ("low", "high"))
        assert counted["rows"] == rows
        assert columns["x"] == {"capped": int((~frame_["x"].between(low, high)).sum()), "missing": 0, "imputed": 0}
        assert columns["x"]["capped"] >= 3
        assert columns["y"]["missing"] == 2 and columns["y"]["imputed"] == (2 if filled else 0)
        gaps = int(frame_["gappy"].isna().sum())
        share = (gaps + 2) / (3 * rows)
        assert evaluation["cleaning"][name]["missing_share"] == pytest.approx(share)
        assert evaluation["cleaning"][name]["imputed_share"] == pytest.approx(share if filled else 0)
    train_capped = sum(column["capped"] for column in card["counts"]["train"]["columns"].values())
    assert evaluation["cleaning"]["train"]["capped_share"] == pytest.approx(train_capped / 9000) and train_capped


@pytest.mark.parametrize("window", ["validation", "test"])
def test_values_outside_the_training_window_do_not_change_the_cleaning_rules(desk: Context, window: str) -> None:
    desk = with_training(desk, calibration="none", refit=False)  # both read validation, on purpose
    honest = train(desk, write_training_set(desk, "s"), family="logistic_regression", run="a")
    altered = frame(900, 31).assign(x=np.float32(np.inf), y=np.float32(-1e20), gappy=np.float32(np.nan))
    changes: dict[str, Any] = {window: altered}
    other = train(desk, write_training_set(desk, "t", **changes), family="logistic_regression", run="b")
    cards = [desk.data.store.read_json(f"{outputs['model_uri']}/model.json")["cleaning"] for outputs in (honest, other)]
    assert cards[0]["columns"] == cards[1]["columns"]
    assert honest["sha256"] == other["sha256"]
    moved = train(desk, write_training_set(desk, "u", train=frame(3000, 9)), family="logistic_regression", run="c")
    assert desk.data.store.read_json(f"{moved['model_uri']}/model.json")["cleaning"]["columns"] != cards[0]["columns"]


@pytest.mark.parametrize("family", sorted(MODULES))
def test_a_refit_reads_validation_and_keeps_cleaning_calibration_and_threshold(desk: Context, family: str) -> None:
    uri = write_training_set(desk, "s")
    once, twice = (
        train(with_training(desk, refit=refit, calibration="platt"), uri, family=family, run=f"refit-{refit}")
        for refit in (False, True)
    )
    cards = [desk.data.store.read_json(f"{outputs['model_uri']}/model.json") for outputs in (once, twice)]
    assert [card["refit"] for card in cards] == [False, True] and once["sha256"] != twice["sha256"]
    assert once["trials"] == twice["trials"]
    for kept in ("cleaning", "calibration", "threshold"):
        assert cards[0][kept] == cards[1][kept]
    again = train(with_training(desk, refit=True, calibration="platt"), uri, family=family, run="again")
    assert again["sha256"] == twice["sha256"]


def test_a_refit_uses_both_windows_and_the_best_number_of_epochs(
    desk: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.training import networks
    from pipelines.training.torch_loop import descend as honest

    fits = []

    def noted(network: Any, data: Any, settings: Any, task: Any) -> int:
        epochs = honest(network, data, settings, task)
        fits.append((len(data.train), task.epochs, epochs))
        return epochs

    monkeypatch.setattr(networks, "descend", noted)
    train(with_training(desk, refit=True), write_training_set(desk, "s"), family="dcn_v2")
    best = fits[0][2]
    assert fits == [(3000, None, best), (4000, best, best)]


def test_threshold_and_calibration_are_fitted_on_out_of_sample_scores(desk: Context) -> None:
    """Gradient boosting that learns by heart tells its own rows apart; out of sample it cannot, and Platt says so."""
    greedy = desk.params.training.hist_gradient_boosting.model_copy(update={"max_iter": 200, "min_samples_leaf": 2})
    desk = with_training(desk, refit=True, calibration="platt", hist_gradient_boosting=greedy.model_dump())
    outputs = train(desk, write_training_set(desk, "s"))
    card = desk.data.store.read_json(f"{outputs['model_uri']}/model.json")
    assert card["calibration"]["slope"] < 0.8


@thorough
def test_training_works_with_an_input_that_is_always_missing(desk: Context) -> None:
    for family in sorted(MODULES):
        train_frame = frame(1500, 1).assign(gappy=np.float32(np.nan))
        uri = write_training_set(desk, "s", train=train_frame)
        fitted = train(desk, uri, family=family)
        evaluate(desk, uri, fitted["model_uri"])
        held = desk.data.store.read_json(f"{fitted['model_uri']}/model.json")["cleaning"]["columns"]["gappy"]
        assert held == {"low": 0.0, "high": 0.0, "fill": 0.0, "flag": False, "indicator": False}


def test_cleaning_rules_for_a_column_that_is_no_input_are_refused(desk: Context) -> None:
    from pipelines.params.cleaning import RuleChange

    rules = desk.params.cleaning.model_copy(update={"columns": {"colour": RuleChange()}})
    other = Context(desk.settings, desk.params.model_copy(update={"cleaning": rules}), desk.usecase)
    with pytest.raises(InvalidInput, match="cleaning names colour"):
        train(other, write_training_set(other, "s"))


def test_further_trials_draw_from_the_ranges_and_the_best_is_kept(desk: Context) -> None:
    uri = write_training_set(desk, "s")
    outputs = train(desk, uri, trials=3)
    losses = [trial["validation_log_loss"] for trial in outputs["trials"]]
    assert outputs["best_trial"] == int(np.argmin(losses))
    assert outputs["trials"][0]["params"]["learning_rate"] == desk.params.training.hist_gradient_boosting.learning_rate
    card = desk.data.store.read_json(f"{outputs['model_uri']}/model.json")
    assert card["params"] == outputs["trials"][outputs["best_trial"]]["params"]


def test_another_run_has_its_own_folder_and_another_seed_another_network(desk: Context) -> None:
    uri = write_training_set(desk, "s")
    one, two = (train(desk, uri, run=run, family="mlp", seed=seed) for run, seed in (("a", 1), ("b", 2)))
    assert one["model_uri"] != two["model_uri"] and one["sha256"] != two["sha256"]


def test_a_family_that_does_not_exist_is_refused(desk: Context) -> None:
    with pytest.raises(InvalidInput, match="'forest' is unknown"):
        train(desk, write_training_set(desk, "s"), family="forest")


def test_a_missing_training_set_is_named(desk: Context) -> None:
    with pytest.raises(MissingData, match=r"nowhere/manifest\.json does not exist"):
        train(desk, desk.data.uri("training_sets", "nowhere"))


def test_an_altered_frame_is_refused(desk: Context) -> None:
    uri = write_training_set(desk, "s")
    Path(f"{uri}/train.parquet").write_bytes(Path(f"{uri}/test.parquet").read_bytes())
    with pytest.raises(CorruptData, match=r"train\.parquet is not the file"):
        train(desk, uri)


def test_a_truncated_manifest_is_refused(desk: Context) -> None:
    uri = write_training_set(desk, "s")
    Path(f"{uri}/manifest.json").write_text('{"as_of"')
    with pytest.raises(CorruptData, match="is not JSON"):
        train(desk, uri)
    Path(f"{uri}/manifest.json").write_text("{}")
    with pytest.raises(CorruptData, match="lacks as_of"):
        train(desk, uri)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": frame(0, 1)}, "has no row"),
        ({"train": frame(500, 1).assign(label=1.0)}, "every training label is the same"),
        ({"train": frame(500, 1).assign(label=np.nan)}, "labels other than 0 and 1"),
        ({"validation": frame(500, 1).drop(columns="x")}, "lacks the model's inputs x"),
    ],
)
def test_an_unusable_training_set_is_refused_and_nothing_is_written(
    desk: Context, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        train(desk, write_training_set(desk, "s", **changes))
    assert not desk.data.store.exists(desk.data.uri("models"))


def test_a_graph_that_disagrees_with_the_library_is_never_saved(desk: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.training.families import hist_gradient_boosting as family

    honest = family.ensemble

    def shifted(estimator: Any) -> dict[str, Any]:
        attributes = honest(estimator)
        return {**attributes, "base_values": [attributes["base_values"][0] + 1e-3]}

    monkeypatch.setattr(family, "ensemble", shifted)
    with pytest.raises(CheckFailed, match="from the fitted model"):
        train(desk, write_training_set(desk, "s"))
    assert not desk.data.store.exists(desk.data.uri("models"))


def test_a_validation_frame_of_one_class_still_trains(desk: Context) -> None:
    uri = write_training_set(desk, "s", validation=frame(300, 5).assign(label=0.0))
    assert np.isfinite(train(desk, uri)["trials"][0]["validation_log_loss"])


def test_a_test_frame_of_one_class_leaves_metrics_undefined(desk: Context) -> None:
    uri = write_training_set(desk, "s", test=frame(300, 5).assign(label=0.0))
    evaluation = evaluate(desk, uri, train(desk, uri)["model_uri"])
    assert evaluation["metrics"]["roc_auc"] is None and evaluation["metrics"]["skill"] is None
    assert "NaN" not in Path(f"{evaluation['evaluation_uri']}/metrics.json").read_text()


def test_an_altered_or_missing_model_is_not_scored(desk: Context) -> None:
    uri = write_training_set(desk, "s")
    model_uri = train(desk, uri)["model_uri"]
    graph = Path(f"{model_uri}/model.onnx")
    content = graph.read_bytes()
    graph.write_bytes(content[:-1] + b"\0")
    with pytest.raises(CorruptData, match="has sha256"):
        evaluate(desk, uri, model_uri)
    graph.unlink()
    with pytest.raises(MissingData, match=r"model\.onnx does not exist"):
        evaluate(desk, uri, model_uri)
    graph.write_bytes(content)
    card = json.loads(Path(f"{model_uri}/model.json").read_text())
    Path(f"{model_uri}/model.json").write_text(json.dumps({**card, "inputs": None}))
    with pytest.raises(CorruptData, match=r"model\.json"):
        load_scorer(desk.data.store, ModelRef(model_uri))


def spelt(rows: int, seed: int, kinds: dict[str, Any]) -> pd.DataFrame:
    rows_frame = frame(rows, seed)
    return rows_frame.assign(kind=rows_frame["kind"].map(kinds))


def test_categories_that_are_not_text_are_refused(desk: Context) -> None:
    numbers = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}
    uri = write_training_set(desk, "s", train=spelt(3000, 1, numbers))
    with pytest.raises(
        InvalidInput, match=r"train\.parquet has the category kind as double.*build the training set anew"
    ):
        train(desk, uri)
    uri = write_training_set(desk, "s", test=spelt(300, 1, dict.fromkeys(numbers, True)))
    model_uri = train(desk, uri)["model_uri"]
    with pytest.raises(InvalidInput, match=r"test\.parquet has the category kind as bool"):
        evaluate(desk, uri, model_uri)


@pytest.mark.parametrize("old", ["{}.0", "{}.50", "2024-03-0{} 00:00:00"])
def test_a_model_trained_on_the_old_spelling_of_categories_is_refused(desk: Context, old: str) -> None:
    kinds = {name: old.format(n + 1) for n, name in enumerate("abcd")}
    frames: dict[str, Any] = {name: spelt(1000, n, kinds) for n, name in enumerate(("train", "validation", "test"))}
    uri = write_training_set(desk, "s", **frames)
    model_uri, store = train(desk, uri)["model_uri"], desk.data.store
    load_scorer(store, ModelRef(model_uri))
    card = json.loads(Path(f"{model_uri}/model.json").read_text())
    assert card["inputs"].pop("spelling") == 1
    write_sealed(store, f"{model_uri}/model.json", {name: card[name] for name in card if name != "digest"})
    load_scorer(store, ModelRef(model_uri))  # as text these are right
    numbers = spelt(1000, 0, {name: n + 1.0 for n, name in enumerate("abcd")})
    store.write_table(f"{uri}/train.parquet", pa.Table.from_pandas(numbers, preserve_index=False))
    with pytest.raises(InvalidInput, match=r"learnt the category '.*' of kind, .* train the model again"):
        load_scorer(store, ModelRef(model_uri))


def test_bytes_that_are_no_graph_are_reported_as_corrupt_even_with_the_right_hash(desk: Context) -> None:
    import hashlib

    folder = desk.data.uri("models", "x", "y")
    desk.data.store.write_bytes(f"{folder}/model.onnx", b"junk")
    card = model_card(ModelInputs(("x",), ()), sha256={"model.onnx": hashlib.sha256(b"junk").hexdigest()})
    card.write(desk.data.store, folder)
    with pytest.raises(CorruptData, match="cannot be loaded"):
        load_scorer(desk.data.store, ModelRef(folder)).score(frame(3, 1))


def test_a_model_is_not_evaluated_on_another_training_set(desk: Context) -> None:
    ours, other = write_training_set(desk, "s"), write_training_set(desk, "t", seed=50)
    with pytest.raises(InvalidInput, match="trained on another set"):
        evaluate(desk, other, train(desk, ours)["model_uri"])


def test_scoring_imports_no_training_library() -> None:
    code = (
        "import sys, pipelines.artifacts.scorer\n"
        "print([m for m in ('torch', 'sklearn', 'mlflow', 'onnx') if m in sys.modules])"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "[]"


@pytest.mark.parametrize("refit", [False, True])
def test_a_killed_training_run_resumes_and_leaves_no_checkpoint(
    desk: Context, monkeypatch: pytest.MonkeyPatch, refit: bool
) -> None:
    from pipelines.training.torch_loop import Loop

    desk, uri = with_training(desk, refit=refit), write_training_set(desk, "s")
    epochs: list[int] = []
    limit, honest = 1000, Loop.epoch

    def noted(self: Any, number: int, *rest: Any) -> None:
        if len(epochs) == limit:
            raise KeyboardInterrupt
        epochs.append(number)
        honest(self, number, *rest)

    monkeypatch.setattr(Loop, "epoch", noted)
    whole = train(desk, uri, family="dcn_v2", run="whole")
    expected, limit = [*epochs], len(epochs) - 2
    epochs.clear()
    with pytest.raises(KeyboardInterrupt):
        train(desk, uri, family="dcn_v2")
    kept = list(desk.settings.root.rglob("checkpoint.pt"))
    assert {file.relative_to(desk.settings.root).parts[:2] for file in kept} == {("work", "training")}
    limit = 1000
    again = train(desk, uri, family="dcn_v2")
    assert epochs == expected and again["sha256"] == whole["sha256"], "no epoch was run twice"
    assert not list(desk.settings.root.rglob("checkpoint.pt"))


def test_mmoe_trains_on_rows_with_only_the_second_label(desk: Context) -> None:
    one, two = (
        write_training_set(desk, "s"),
        write_training_set(desk, "t", train_auxiliary=frame(300, 77).assign(label=np.nan)),
    )
    models = [train(desk, uri, family=family) for family in ("mmoe", "mlp") for uri in (one, two)]
    assert models[0]["sha256"] != models[1]["sha256"] and models[2]["sha256"] == models[3]["sha256"]
    with pytest.raises(InvalidInput, match="no auxiliary label"):
        train(desk, write_training_set(desk, "u", auxiliary=[]), family="mmoe")
