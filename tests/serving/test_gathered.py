"""Calls that are answered in one run share only the run."""

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
from tests.serving.conftest import App, reading


def call(app: App, *requests: dict[str, Any]) -> Call:
    envelope = app.http.app.state.server.requests  # type: ignore[attr-defined]
    return Call(envelope.parse(json.dumps({"requests": requests}).encode()))


def answers(app: App, *calls: Call) -> list[Any]:
    return list(app.http.app.state.server.predictor.answer(calls))  # type: ignore[attr-defined]


def test_calls_of_one_run_get_the_same_answers_as_alone(serve: Any) -> None:
    app = serve()
    app.plan()
    sent = [[reading(load=n / 7 + m, pump=str(m))] * (m + 1) for n in range(3) for m in range(3)]
    alone = [answers(app, call(app, *requests))[0] for requests in sent]
    together = answers(app, *(call(app, *requests) for requests in sent))

    def logged_rows(predictions: list[Answered]) -> list[Any]:
        logged = {one.prediction_id: one for one in app.log.get([answer.id for answer in predictions])}
        rows = [logged[answer.id] for answer in predictions]
        assert [Answered.of(row) for row in rows] == predictions
        return [(row.entity, row.served, row.scores, row.features, row.ages, row.request) for row in rows]

    assert [logged_rows(of) for of in together] == [logged_rows(of) for of in alone]
    ids = [answer.id for of in together for answer in of]
    assert len(set(ids)) == 18
    assert sorted(map(bool, (one.milliseconds for one in app.log.get(ids)))) == [False] * 17 + [True], (
        "the time is that of the run"
    )


def test_a_refused_call_leaves_the_others_alone_and_nothing_in_the_log(serve: Any) -> None:
    app = serve()
    app.plan()
    answers(app, call(app, reading(id="used")))
    before = len(app.log.all())
    fine, taken, again = answers(
        app,
        call(app, reading(id="a"), reading()),
        call(app, reading(id="used", load=0.1), reading(id="b")),
        call(app, reading(id="used")),
    )
    assert fine[0].id == "a" and again[0].id == "used"
    assert isinstance(taken, Refusal) and taken.status == 409 and not app.log.get(["b"])
    assert len(app.log.all()) == before + 2


def test_the_same_id_in_two_calls_of_a_run_is_one_prediction(serve: Any) -> None:
    app = serve()
    app.plan()
    first, same, other = answers(
        app, call(app, reading(id="a")), call(app, reading(id="a")), call(app, reading(id="a", load=0.1))
    )
    assert first == same and isinstance(other, Refusal) and other.status == 409
    assert len(app.log.all()) == 1


def test_an_error_of_one_call_fails_no_other(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    app = serve()
    app.plan()
    features = type(app.context.usecase).request_features

    def breaking(usecase: Any, columns: Any) -> Any:
        if 9.0 in columns["load"].tolist():
            raise ZeroDivisionError("load")
        return features(usecase, columns)

    monkeypatch.setattr(type(app.context.usecase), "request_features", breaking)
    fine, broken, also = answers(app, call(app, reading()), call(app, reading(load=9.0)), call(app, reading()))
    assert isinstance(broken, ZeroDivisionError) and len(fine) == len(also) == 1
    assert len(app.log.all()) == 2


def test_a_request_that_is_no_input_of_a_model_fails_its_own_call_alone(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = serve()
    app.plan()
    arrays = FeatureLayout.arrays

    def refusing(layout: FeatureLayout, version: str, features: RequestFeatures) -> Any:
        if 9.0 in features.own["load"].tolist():
            raise InvalidInput("load: 9.0 is no category")
        return arrays(layout, version, features)

    monkeypatch.setattr(FeatureLayout, "arrays", refusing)
    fine, broken, also = answers(app, call(app, reading()), call(app, reading(load=9.0)), call(app, reading()))
    assert isinstance(broken, Refusal) and broken.status == 503 and "no category" in str(broken)
    assert len(fine) == len(also) == 1 and not any(row.errors for row in app.log.all())


def test_a_run_repeated_after_its_commit_logs_nothing_twice(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    app = serve()
    app.plan()
    broken = [True]
    given = Run.answers

    def breaking(run: Run, batch: Batch) -> list[Answered]:
        if broken.pop() if broken else False:
            raise RuntimeError("after the commit")
        return given(run, batch)

    monkeypatch.setattr(Run, "answers", breaking)
    (answer,) = app.ask(reading())
    assert not broken and [row.prediction_id for row in app.log.all()] == [answer["id"]]
