"""Further outputs of a model in its answers: those of the network, logged and repeated; absent where it has none."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from pipelines.artifacts.model import ModelRef
from pipelines.artifacts.scorer import ModelScorer, load_scorer
from pipelines.console import explain
from pipelines.context import build_context
from pipelines.deployment import preflight_probe
from pipelines.instants import midnight
from pipelines.steps import execute
from pipelines.training import estimator
from pipelines.training.networks import tensors
from pipelines.training.torch_loop import log_odds
from tests.conftest import TOY
from tests.homes import copy_home
from tests.serving.conftest import END, App, ModelHome, reading, registered
from tests.steps.test_auxiliary_training_set import Worn

NETWORK: dict[str, Any] = {}  # of version 2: the fitted network, and the folder of its evaluation


@pytest.fixture(scope="module")
def model_home(model_home: ModelHome, tmp_path_factory: pytest.TempPathFactory) -> ModelHome:
    """The session's home with a network of two tasks as version 2; version 1 learns only the label."""
    home = copy_home(model_home.home, tmp_path_factory.mktemp("further") / "home")
    worn = replace(build_context(TOY, home), usecase=Worn())
    as_of = {"as_of": midnight(END, worn.usecase.timezone).isoformat(), "data_version": "d"}
    uri = execute("build_training_set", {**as_of, "run": "worn"}, worn)["training_set_uri"]
    agreement = estimator.require_agreement
    with pytest.MonkeyPatch.context() as patched:

        def keep_fitted(model: Any, result: Any, frame: pd.DataFrame) -> None:
            NETWORK["fitted"] = result.fitted
            agreement(model, result, frame)

        patched.setattr(estimator, "require_agreement", keep_fitted)
        model = execute("train", {"training_set_uri": uri, "run": "worn", "family": "mmoe", "trials": 1}, worn)
    given = {"training_set_uri": uri, "run": "worn", "model_uri": model["model_uri"]}
    NETWORK["evaluation"] = execute("evaluate", given, worn)["evaluation_uri"]
    return replace(model_home, home=home, models={"1": model_home.models["2"], "2": model["model_uri"]})


def second_task(examples: pd.DataFrame) -> np.ndarray[Any, Any]:
    """The predictions of the network in torch for the second label."""
    fitted = NETWORK["fitted"]
    read = tensors(examples, fitted.inputs, fitted.cleaning, fitted.vocabulary, fitted.scale)
    return torch.sigmoid(log_odds(fitted.network, *read, tasks=2)[:, 1]).numpy()


def test_answers_hold_the_second_task_of_the_version_that_answered(app: App) -> None:
    examples = app.model_home.examples
    requests = [reading(row, id=f"p{n}") for n, row in enumerate(examples.itertuples())]
    answers = app.ask(*requests)
    rows = {row.prediction_id: row for row in app.log.get([answer["id"] for answer in answers])}
    assert {answer["version"] for answer in answers} == {"1", "2"}
    for answer, expected in zip(answers, second_task(examples), strict=True):
        logged = rows[answer["id"]].further
        if answer["version"] == "1":
            assert "further" not in answer and logged is None
        else:
            assert answer["further"] == logged and answer["further"] == {"worn": pytest.approx(expected, abs=1e-5)}
        assert app.http.get(f"/v1/predictions/{answer['id']}").json() == answer
    assert np.std(second_task(examples)) > 0.05, "they differ from request to request"
    app.plan(share=0.0)
    assert app.ask(*requests) == answers, "a repeated request gets the same answer"
    alone = app.ask(reading())[0]
    assert alone["version"] == "1" and "further" not in alone
    app.plan(champion="3", champion_uri=app.model_home.models["2"], challenger=None, challenger_uri=None)
    earlier, new = app.ask(requests[0], reading(id="new"))
    explanation, _ = explain.answer({"prediction_id": "new"}, app.context)
    assert earlier == answers[0] and explanation["further"] == new["further"] and 0 < new["further"]["worn"] < 1


def test_a_card_written_before_further_outputs_existed_has_none(model_home: ModelHome, app: App) -> None:
    cards = [json.loads((Path(uri) / "model.json").read_text()) for uri in model_home.models.values()]
    assert "further" not in cards[0] and cards[1]["further"] == ["worn"]
    one, two = (load_scorer(app.context.data.store, ModelRef(uri)) for uri in model_home.models.values())
    scores, further = one.score_all(model_home.examples)
    assert further.shape == (len(model_home.examples), 0) and np.array_equal(scores, one.score(model_home.examples))
    scores, further = two.score_all(model_home.examples)
    assert further.shape == (len(model_home.examples), 1) and np.array_equal(scores, two.score(model_home.examples))


def test_preflight_compares_further_outputs_with_the_recorded_ones(
    model_home: ModelHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, sha256 = registered(model_home.models["2"])
    store = build_context(TOY, model_home.home).data.store
    question = {"store": store.root, "evaluation_uri": NETWORK["evaluation"], "model_uri": uri, "sha256": sha256}
    question |= {"seed": 1, "sample": 50}
    seen = preflight_probe.answer(question)
    assert seen["in_range"] and seen["rows"] == 50 and seen["max_difference"] <= 1e-5
    honest = ModelScorer.score_all
    monkeypatch.setattr(ModelScorer, "score_all", lambda *given: (honest(*given)[0], honest(*given)[1] + 1))
    seen = preflight_probe.answer(question)
    assert not seen["in_range"] and seen["max_difference"] == pytest.approx(1)


@pytest.mark.parametrize("broken", ["a value", "a batch"])
def test_an_output_that_is_no_probability_is_null_and_a_failed_batch_is_scored_row_by_row(
    app: App, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    app.plan(share=1.0)
    before = [answer["further"]["worn"] for answer in app.ask(reading(), reading(load=2.0))]
    honest: Callable[..., Any] = ModelScorer.score_all_arrays

    def odd(scorer: ModelScorer, *arrays: Any) -> Any:
        if broken == "a batch" and len(arrays[0]) > 1:
            raise ValueError("too many rows")
        scores, further = honest(scorer, *arrays)
        return scores, further if broken == "a batch" else np.where(np.arange(len(further))[:, None], further, np.nan)

    monkeypatch.setattr(ModelScorer, "score_all_arrays", odd)
    answers = app.ask(reading(id="a"), reading(id="b", load=2.0))
    assert [answer["version"] for answer in answers] == ["2", "2"]
    outputs = [answer["further"]["worn"] for answer in answers]
    assert outputs == pytest.approx([None if broken == "a value" else before[0], before[1]])
    assert [row.further for row in app.log.get(["a", "b"])] == [{"worn": value} for value in outputs]
    assert app.ask(reading(id="a"), reading(id="b", load=2.0)) == answers
