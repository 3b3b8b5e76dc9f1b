"""Calls that are answered in one run share nothing but the run."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipelines.errors import InvalidInput
from pipelines.records import Batch
from pipelines.serving.calls import Answered, Call
from pipelines.serving.features import FeatureLayout, RequestFeatures
from pipelines.serving.run import Run
from pipelines.serving.schemas import Refusal
from tests.serving.conftest import Deck, reading


def call(deck: Deck, *requests: dict[str, Any]) -> Call:
    envelope = deck.http.app.state.server.requests  # type: ignore[attr-defined]
    return Call(envelope.parse(json.dumps({"requests": requests}).encode()))


def answers(deck: Deck, *calls: Call) -> list[Any]:
    return list(deck.http.app.state.server.predictor.answer(calls))  # type: ignore[attr-defined]


def test_calls_of_one_run_get_what_each_would_get_alone(serve: Any) -> None:
    deck = serve()
    deck.plan()
    sent = [[reading(load=n / 7 + m, pump=str(m))] * (m + 1) for n in range(3) for m in range(3)]
    alone = [answers(deck, call(deck, *requests))[0] for requests in sent]
    together = answers(deck, *(call(deck, *requests) for requests in sent))

    def told(predictions: list[Answered]) -> list[Any]:
        logged = {one.prediction_id: one for one in deck.log.get([answer.id for answer in predictions])}
        rows = [logged[answer.id] for answer in predictions]
        assert [Answered.of(row) for row in rows] == predictions
        return [(row.entity, row.served, row.scores, row.features, row.ages, row.request) for row in rows]

    assert [told(of) for of in together] == [told(of) for of in alone]
    ids = [answer.id for of in together for answer in of]
    assert len(set(ids)) == 18
    assert sorted(map(bool, (one.milliseconds for one in deck.log.get(ids)))) == [False] * 17 + [True], "of the run"


def test_a_call_that_is_refused_leaves_the_others_and_nothing_in_the_log(serve: Any) -> None:
    deck = serve()
    deck.plan()
    answers(deck, call(deck, reading(id="used")))
    before = len(deck.log.all())
    fine, taken, again = answers(
        deck,
        call(deck, reading(id="a"), reading()),
        call(deck, reading(id="used", load=0.1), reading(id="b")),
        call(deck, reading(id="used")),
    )
    assert fine[0].id == "a" and again[0].id == "used"
    assert isinstance(taken, Refusal) and taken.status == 409 and not deck.log.get(["b"])
    assert len(deck.log.all()) == before + 2


def test_one_id_in_two_calls_of_a_run_is_one_prediction(serve: Any) -> None:
    deck = serve()
    deck.plan()
    first, same, other = answers(
        deck, call(deck, reading(id="a")), call(deck, reading(id="a")), call(deck, reading(id="a", load=0.1))
    )
    assert first == same and isinstance(other, Refusal) and other.status == 409
    assert len(deck.log.all()) == 1


def test_what_breaks_on_one_call_breaks_no_other(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    deck = serve()
    deck.plan()
    features = type(deck.context.usecase).request_features

    def breaking(usecase: Any, columns: Any) -> Any:
        if 9.0 in columns["load"].tolist():
            raise ZeroDivisionError("load")
        return features(usecase, columns)

    monkeypatch.setattr(type(deck.context.usecase), "request_features", breaking)
    fine, broken, also = answers(deck, call(deck, reading()), call(deck, reading(load=9.0)), call(deck, reading()))
    assert isinstance(broken, ZeroDivisionError) and len(fine) == len(also) == 1
    assert len(deck.log.all()) == 2


def test_a_request_that_is_no_input_of_a_model_fails_its_own_call_alone(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    deck = serve()
    deck.plan()
    arrays = FeatureLayout.arrays

    def refusing(layout: FeatureLayout, version: str, features: RequestFeatures) -> Any:
        if 9.0 in features.own["load"].tolist():
            raise InvalidInput("load: 9.0 is no category")
        return arrays(layout, version, features)

    monkeypatch.setattr(FeatureLayout, "arrays", refusing)
    fine, broken, also = answers(deck, call(deck, reading()), call(deck, reading(load=9.0)), call(deck, reading()))
    assert isinstance(broken, Refusal) and broken.status == 503 and "no category" in str(broken)
    assert len(fine) == len(also) == 1 and not any(row.errors for row in deck.log.all())


def test_a_run_that_is_made_again_after_its_commit_doubles_nothing(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    deck = serve()
    deck.plan()
    broken = [True]
    given = Run.answers

    def breaking(run: Run, batch: Batch) -> list[Answered]:
        if broken.pop() if broken else False:
            raise RuntimeError("after the commit")
        return given(run, batch)

    monkeypatch.setattr(Run, "answers", breaking)
    (answer,) = deck.ask(reading())
    assert not broken and [row.prediction_id for row in deck.log.all()] == [answer["id"]]
