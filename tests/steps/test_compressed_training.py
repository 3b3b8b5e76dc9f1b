"""train with compression: the card says what was done and its cost; without compression nothing changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from pipelines.artifacts.model import ModelRef
from pipelines.artifacts.scorer import load_scorer
from pipelines.context import Context
from pipelines.errors import CheckFailed, InvalidInput
from pipelines.registration.rendering import COMPRESSED, compression
from tests.conftest import tree_hashes
from tests.steps.test_tuning import card, desk, evaluate, train, with_training
from tests.synthetic import frame, write_training_set

__all__ = ["desk"]

NET, TREES = "mlp", "hist_gradient_boosting"


def asking(desk: Context, **compress: Any) -> Context:
    return with_training(desk, compression={NET: compress})


def require_on_the_model_card(declared: dict[str, dict[str, Any]]) -> None:
    """Check that the table has every kind of compression, and every value that has a description."""
    text = "".join(compression(declared)).replace("\\", "")
    for how, facts in declared.items():
        assert set(COMPRESSED[how]) <= set(facts) and facts.keys() - COMPRESSED[how].keys() <= {"teacher"}
        for key, words in COMPRESSED[how].items():
            shown = f"{facts[key]:.6g}" if isinstance(facts[key], float) else facts[key]
            assert f"| {how} | {words} | {shown} |" in text


def test_without_compression_the_model_is_the_same(desk: Context) -> None:
    uri = write_training_set(desk, "s", rows=1200)
    model, again = train(desk, uri, NET), train(asking(desk), uri, NET, "r2")
    assert "compression" not in card(desk, model)
    before, after = (tree_hashes(Path(one["model_uri"])) for one in (model, again))
    assert before.pop("provenance.json") != after.pop("provenance.json"), "it holds the params, which differ"
    assert before == after


def test_the_card_describes_the_compression_and_the_model_is_evaluated_like_any_other(desk: Context) -> None:
    uri = write_training_set(desk, "s", rows=1200)
    plain = train(desk, uri, NET, "plain")
    context = asking(desk, prune=0.5, fine_tune_epochs=1, quantize=True)
    model = train(context, uri, NET)
    compression = card(context, model)["compression"]
    assert compression["prune"] == {"share": 0.5, "fine_tune_epochs": 1, "zero_share": pytest.approx(0.5, abs=0.01)}
    assert compression["quantize"]["products"] == 1 and 0 < compression["quantize"]["difference"] <= 0.05
    assert compression["quantize"]["mean_difference"] <= compression["quantize"]["difference"]
    require_on_the_model_card(compression)
    graph = onnx.load_model_from_string((Path(model["model_uri"]) / "model.onnx").read_bytes())
    assert "MatMulInteger" in {node.op_type for node in graph.graph.node}
    scores = [load_scorer(desk.data.store, ModelRef(m["model_uri"])).score(frame(500, 9)) for m in (plain, model)]
    assert 0 < np.abs(scores[0] - scores[1]).mean() < 0.1
    assert evaluate(context, uri, model["model_uri"])["metrics"]["roc_auc"] > 0.7
    again = train(context, uri, NET, "r2")
    assert tree_hashes(Path(model["model_uri"])) == tree_hashes(Path(again["model_uri"]))


def test_a_refit_is_compressed_as_the_first_fit_was(desk: Context) -> None:
    uri, settings = write_training_set(desk, "s", rows=1200), {"prune": 0.5, "fine_tune_epochs": 1, "quantize": True}
    once, twice = (
        train(with_training(asking(desk, **settings), refit=refit), uri, NET, f"refit-{refit}")
        for refit in (False, True)
    )
    cards = [card(desk, model)["compression"] for model in (once, twice)]
    assert (
        cards[0]["prune"] == cards[1]["prune"] and cards[0]["quantize"]["products"] == cards[1]["quantize"]["products"]
    )
    assert once["sha256"] != twice["sha256"]


def test_quantization_that_costs_more_than_allowed_writes_no_model(desk: Context) -> None:
    uri = write_training_set(desk, "s", rows=1200)
    with pytest.raises(CheckFailed, match=r"more than max_difference \(1e-09\); allow more, or do not quantize"):
        train(asking(desk, quantize=True, max_difference=1e-9), uri, NET)
    assert not Path(desk.data.uri("models", "r1", NET)).exists()


def test_a_teacher_given_by_family_or_by_folder_gives_the_same_network(desk: Context) -> None:
    desk, uri = with_training(desk, refit=False), write_training_set(desk, "s", rows=1200)
    alone, teacher = train(desk, uri, NET, "alone"), train(desk, uri, TREES, "teacher")
    by_name = asking(desk, distil={"teacher": TREES, "temperature": 2.0, "alpha": 0.7})
    model = train(by_name, uri, NET)
    distillation = card(desk, model)["compression"]["distil"]
    assert distillation["teacher_sha256"] == teacher["sha256"] and distillation["teacher_family"] == TREES
    assert (distillation["temperature"], distillation["alpha"]) == (2.0, 0.7)
    require_on_the_model_card({"distil": distillation})
    by_folder = asking(desk, distil={"teacher": teacher["model_uri"], "temperature": 2.0, "alpha": 0.7})
    again = train(by_folder, uri, NET, "r2")
    assert again["sha256"] == model["sha256"] != alone["sha256"]


def test_a_teacher_with_other_rows_or_inputs_is_refused(desk: Context) -> None:
    uri = write_training_set(desk, "s", rows=1200)
    desk = with_training(desk, refit=False)
    other = train(desk, write_training_set(desk, "t", seed=9, rows=1200), TREES)
    asks = {"distil": {"teacher": other["model_uri"]}}
    with pytest.raises(InvalidInput, match="was trained on another training set"):
        train(asking(desk, **asks), uri, NET)
    fewer = write_training_set(desk, "u", rows=1200, model_inputs={"numeric": ["x", "y"], "categorical": ["kind"]})
    blind = train(desk, fewer, TREES, "blind")
    with pytest.raises(InvalidInput, match="reads other inputs"):
        train(asking(desk, distil={"teacher": blind["model_uri"]}), uri, NET)


def test_no_teacher_is_trained_on_the_rows_that_evaluate_its_student(desk: Context) -> None:
    uri, again = write_training_set(desk, "s", rows=1200), with_training(desk, refit=True)
    honest = train(with_training(desk, refit=False), uri, TREES, "honest")
    model = train(asking(again, distil={"teacher": TREES}), uri, NET)
    assert (
        card(desk, model)["refit"] and card(desk, model)["compression"]["distil"]["teacher_sha256"] == honest["sha256"]
    )
    refitted = train(again, uri, TREES, "refitted")
    with pytest.raises(InvalidInput, match="was fitted again on the validation window, which is for its pupil"):
        train(asking(again, distil={"teacher": refitted["model_uri"]}), uri, NET, "r2")
