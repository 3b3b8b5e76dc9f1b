"""Further outputs of a model in its answers: the network's own, logged, and told again; absent where it has none."""

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
from tests.serving.conftest import END, Deck, Made, reading, registered
from tests.steps.test_auxiliary_training_set import Worn

NETWORK: dict[str, Any] = {}  # of version 2: what was fitted, and the folder of its evaluation


@pytest.fixture(scope="module")
def made(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """As the session's, with the network of two tasks as version 2; version 1 learns the label alone."""
    home = copy_home(made.home, tmp_path_factory.mktemp("further") / "home")
    worn = replace(build_context(TOY, home), usecase=Worn())
    as_of = {"as_of": midnight(END, worn.usecase.timezone).isoformat(), "data_version": "d"}
    uri = execute("build_training_set", {**as_of, "run": "worn"}, worn)["training_set_uri"]
    agreement = estimator.require_agreement
    with pytest.MonkeyPatch.context() as patched:

        def noted(model: Any, made: Any, frame: pd.DataFrame) -> None:
            NETWORK["fitted"] = made.fitted
            agreement(model, made, frame)

        patched.setattr(estimator, "require_agreement", noted)
        model = execute("train", {"training_set_uri": uri, "run": "worn", "family": "mmoe", "trials": 1}, worn)
    given = {"training_set_uri": uri, "run": "worn", "model_uri": model["model_uri"]}
    NETWORK["evaluation"] = execute("evaluate", given, worn)["evaluation_uri"]
    return replace(made, home=home, models={"1": made.models["2"], "2": model["model_uri"]})


def second_task(examples: pd.DataFrame) -> np.ndarray[Any, Any]:
    """What the network in torch says of the second label."""
    fitted = NETWORK["fitted"]
    read = tensors(examples, fitted.inputs, fitted.cleaning, fitted.vocabulary, fitted.scale)
    return torch.sigmoid(log_odds(fitted.network, *read, tasks=2)[:, 1]).numpy()


def test_answers_have_the_second_task_of_the_version_that_gave_them(deck: Deck) -> None:
    examples = deck.made.examples
    requests = [reading(row, id=f"p{n}") for n, row in enumerate(examples.itertuples())]
    answers = deck.ask(*requests)
    rows = {row.prediction_id: row for row in deck.log.get([answer["id"] for answer in answers])}
    assert {answer["version"] for answer in answers} == {"1", "2"}
    for answer, expected in zip(answers, second_task(examples), strict=True):
        logged = rows[answer["id"]].further
        if answer["version"] == "1":
            assert "further" not in answer and logged is None
        else:
            assert answer["further"] == logged and answer["further"] == {"worn": pytest.approx(expected, abs=1e-5)}
        assert deck.http.get(f"/v1/predictions/{answer['id']}").json() == answer
    assert np.std(second_task(examples)) > 0.05, "they differ from request to request"
    deck.plan(share=0.0)
    assert deck.ask(*requests) == answers, "asked again"
    alone = deck.ask(reading())[0]
    assert alone["version"] == "1" and "further" not in alone
    deck.plan(champion="3", champion_uri=deck.made.models["2"], challenger=None, challenger_uri=None)
    earlier, new = deck.ask(requests[0], reading(id="new"))
    explanation, _ = explain.answer({"prediction_id": "new"}, deck.context)
    assert earlier == answers[0] and explanation["further"] == new["further"] and 0 < new["further"]["worn"] < 1


def test_a_card_from_before_there_were_further_outputs_has_none(made: Made, deck: Deck) -> None:
    cards = [json.loads((Path(uri) / "model.json").read_text()) for uri in made.models.values()]
    assert "further" not in cards[0] and cards[1]["further"] == ["worn"]
    one, two = (load_scorer(deck.context.data.store, ModelRef(uri)) for uri in made.models.values())
    scores, further = one.score_all(made.examples)
    assert further.shape == (len(made.examples), 0) and np.array_equal(scores, one.score(made.examples))
    scores, further = two.score_all(made.examples)
    assert further.shape == (len(made.examples), 1) and np.array_equal(scores, two.score(made.examples))


def test_preflight_holds_them_against_the_recorded_ones(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    uri, sha256 = registered(made.models["2"])
    store = build_context(TOY, made.home).data.store
    question = {"store": store.root, "evaluation_uri": NETWORK["evaluation"], "model_uri": uri, "sha256": sha256}
    question |= {"seed": 1, "sample": 50}
    seen = preflight_probe.answer(question)
    assert seen["in_range"] and seen["rows"] == 50 and seen["max_difference"] <= 1e-5
    honest = ModelScorer.score_all
    monkeypatch.setattr(ModelScorer, "score_all", lambda *given: (honest(*given)[0], honest(*given)[1] + 1))
    seen = preflight_probe.answer(question)
    assert not seen["in_range"] and seen["max_difference"] == pytest.approx(1)


@pytest.mark.parametrize("broken", ["a value", "a batch"])
def test_what_is_no_probability_is_null_and_what_fails_together_is_scored_alone(
    deck: Deck, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    deck.plan(share=1.0)
    before = [answer["further"]["worn"] for answer in deck.ask(reading(), reading(load=2.0))]
    honest: Callable[..., Any] = ModelScorer.score_all_arrays

    def odd(scorer: ModelScorer, *arrays: Any) -> Any:
        if broken == "a batch" and len(arrays[0]) > 1:
            raise ValueError("too many rows")
        scores, further = honest(scorer, *arrays)
        return scores, further if broken == "a batch" else np.where(np.arange(len(further))[:, None], further, np.nan)

    monkeypatch.setattr(ModelScorer, "score_all_arrays", odd)
    answers = deck.ask(reading(id="a"), reading(id="b", load=2.0))
    assert [answer["version"] for answer in answers] == ["2", "2"]
    outputs = [answer["further"]["worn"] for answer in answers]
    assert outputs == pytest.approx([None if broken == "a value" else before[0], before[1]])
    assert [row.further for row in deck.log.get(["a", "b"])] == [{"worn": value} for value in outputs]
    assert deck.ask(reading(id="a"), reading(id="b", load=2.0)) == answers
