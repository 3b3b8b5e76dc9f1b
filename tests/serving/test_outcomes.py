"""Early, repeated or contradicting outcomes: the server's clock and the first label decide."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.predictions import labels
from tests.serving.conftest import App, reading


def tell(app: App, *outcomes: tuple[str, int]) -> tuple[int, list[str]]:
    """The status of a call, and the result for each of its outcomes."""
    sent = [{"id": identity, "label": label} for identity, label in outcomes]
    answer = app.http.post("/v1/outcomes", json={"outcomes": sent})
    assert (answer.status_code == 200) == ("detail" not in answer.json()), answer.text
    assert [item["id"] for item in answer.json()["outcomes"]] == [identity for identity, _ in outcomes]
    return answer.status_code, [item["status"] for item in answer.json()["outcomes"]]


def labels_seen(app: App, known_by: Any) -> list[float | None]:
    """The labels that a judge sees at an instant."""
    return [one.label for one in app.log.observations([1], known_by)]


@pytest.mark.parametrize("field", ["known_at", "label_known_at", "predicted_at", "at", "now", "clock"])
@pytest.mark.parametrize("is_batch", [False, True])
def test_no_client_sets_the_instant_of_an_outcome(app: App, field: str, is_batch: bool) -> None:
    app.ask(reading(id="a"), reading(id="b"))
    outcome = {"id": "a", "label": 1, field: (app.model_home.at - timedelta(days=1)).isoformat()}
    sent = {"outcomes": [{"id": "b", "label": 1}, outcome]} if is_batch else outcome
    refused = app.http.post("/v1/outcomes", json=sent)
    assert refused.status_code == 422
    (problem,) = refused.json()["problems"]
    assert problem["field"] == field and problem["problem"].startswith("unknown key; remove it")
    assert labels(app.log) == {}, "no outcome of the call is recorded"
    assert tell(app, ("a", 1)) == (200, ["recorded"])


def test_no_client_sets_the_instant_of_a_prediction(app: App) -> None:
    refused = app.http.post("/v1/predictions", json=reading(id="a", predicted_at="2030-01-01T00:00:00Z"))
    assert refused.status_code == 422 and refused.json()["detail"].startswith("predicted_at: unknown key; remove it")
    app.ask(reading(id="a"))
    assert [row.predicted_at for row in app.log.get(["a"])] == [app.model_home.at]


def test_an_outcome_that_arrives_before_its_maturity_is_known_from_its_arrival(app: App) -> None:
    app.ask(reading(id="a"))
    assert tell(app, ("a", 1)) == (200, ["recorded"]), "at the same instant as the prediction"
    moment = timedelta(microseconds=1)
    assert (labels_seen(app, app.model_home.at), labels_seen(app, app.model_home.at + moment)) == ([], [1.0])
    app.clock.advance(app.model_home.at + app.context.usecase.maturity)
    assert tell(app, ("a", 1)) == (200, ["repeated"])
    assert labels(app.log) == {"a": (1.0, app.model_home.at)}, "a repeated outcome changes nothing"


def test_an_outcome_dated_before_its_prediction_is_not_recorded(app: App) -> None:
    assert tell(app, ("a", 0)) == (404, ["unknown"])
    app.ask(reading(id="a"))
    assert labels(app.log) == {}
    app.clock.advance(app.model_home.at + timedelta(hours=1))
    assert tell(app, ("a", 1)) == (200, ["recorded"])
    assert labels(app.log) == {"a": (1.0, app.clock.now())}


def test_the_first_of_several_outcomes_of_a_prediction_in_a_call_stands(app: App) -> None:
    app.ask(reading(id="a"), reading(id="b"), reading(id="c"))
    assert tell(app, ("a", 1), ("a", 1)) == (200, ["recorded", "repeated"])
    mixed = tell(app, ("c", 1), ("b", 0), ("c", 0), ("c", 1), ("a", 0), ("nobody", 1), ("b", 0))
    assert mixed == (409, ["recorded", "recorded", "contradicts", "repeated", "contradicts", "unknown", "repeated"])
    now = app.clock.now()
    assert labels(app.log) == {"a": (1.0, now), "b": (0.0, now), "c": (1.0, now)}
    counts = {arrival: app.metric("outcomes_total", arrival=arrival) for arrival in ("recorded", "contradicts")}
    assert counts == {"recorded": 3, "contradicts": 2}


def test_a_repeated_call_records_no_outcome_twice(app: App) -> None:
    ids = [f"{n}" for n in range(50)]
    app.ask(*(reading(id=identity) for identity in ids))
    outcomes = [(identity, n % 2) for n, identity in enumerate(ids)]
    assert tell(app, *outcomes) == (200, ["recorded"] * 50)
    before = labels(app.log)
    app.clock.advance(app.model_home.at + timedelta(hours=1))
    assert tell(app, *reversed(outcomes)) == (200, ["repeated"] * 50)
    assert tell(app, *((identity, 1 - label) for identity, label in outcomes)) == (409, ["contradicts"] * 50)
    assert labels(app.log) == before
