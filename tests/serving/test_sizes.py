"""Texts, keys, numbers and nestings of absurd size are refused with a short answer, or read exactly."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from pipelines.context import build_context
from pipelines.serving.app import create_app
from tests.conftest import TOY
from tests.predictions import labels, read_log
from tests.serving.conftest import App, ModelHome, reading

MILLION = "x" * 1_000_000
READING = {"pump", "plant", "read_at", "id", "load"}
OUTCOME = {"id", "label"}
NESTED = {"list": "[" * 100 + "]" * 100, "object": '{"a":' * 100 + "1" + "}" * 100}
TOO_DEEP = {"list": "[" * 100_000 + "]" * 100_000, "object": '{"a":' * 100_000 + "1" + "}" * 100_000}
SHORT = 10_000  # bytes of an answer


def body(item: dict[str, Any], field: str, value: str) -> str:
    """An item as JSON, with the value of one field given as JSON."""
    return json.dumps({**item, field: "VALUE"}).replace('"VALUE"', value)


def refusal(app: App, path: str, content: str, *statuses: int) -> str:
    """The detail of a refusal, which must be short and leave nothing in the log and the server working."""
    answer = app.http.post(path, content=content)
    assert answer.status_code in statuses and len(answer.content) < SHORT, answer.text[:1000]
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == answer.status_code
    assert read_log(app.log) == [] and labels(app.log) == {}
    return str(answer.json()["detail"])


@pytest.mark.parametrize("field", sorted(READING))
def test_a_value_of_absurd_size_is_refused_by_the_name_of_its_field(app: App, field: str) -> None:
    for value in (json.dumps(MILLION), "9" * 400, "-" + "9" * 400, *NESTED.values()):
        detail = refusal(app, "/v1/predictions", body(reading(), field, value), 422)
        assert detail.startswith(f"{field}: ") and "...)" in detail
    for value in TOO_DEEP.values():
        detail = refusal(app, "/v1/predictions", body(reading(), field, value), 400)
        assert "recursion limit" in detail and detail.endswith("correct it")
    assert len(app.ask(reading())) == 1


@pytest.mark.parametrize("field", sorted(OUTCOME))
def test_an_outcome_of_absurd_size_is_refused_by_the_name_of_its_field(app: App, field: str) -> None:
    for value in (json.dumps(MILLION), "9" * 400, "-" + "9" * 400, *NESTED.values()):
        detail = refusal(app, "/v1/outcomes", body({"id": "a", "label": 1}, field, value), 422)
        assert detail.startswith(f"{field}: ")
    for value in TOO_DEEP.values():
        assert "recursion limit" in refusal(app, "/v1/outcomes", body({"id": "a", "label": 1}, field, value), 400)
    app.ask(reading(id="a"))
    assert app.http.post("/v1/outcomes", json={"id": "a", "label": 1}).status_code == 200


KEYS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "alone": lambda item: {**item, MILLION: 1},
    "in each item": lambda item: {"requests": [{**item, "x" * 100_000: 1}] * 20},
    "beside the items": lambda item: {"requests": [item], MILLION: 1},
    "of many": lambda item: {**item, **{f"k{n}": 1 for n in range(100_000)}},
}


@pytest.mark.parametrize("place", KEYS)
def test_an_answer_quotes_no_key_of_absurd_size_and_no_absurd_number_of_keys(app: App, place: str) -> None:
    detail = refusal(app, "/v1/predictions", json.dumps(KEYS[place](reading())), 422)
    assert "unknown key; remove it" in detail
    assert len(app.ask(reading())) == 1


def test_an_answer_quotes_no_path_of_absurd_size(app: App) -> None:
    for path in ("/v1/predictions/", "/v1/nothing/"):
        answer = app.http.get(path + "x" * 60_000)
        assert answer.status_code == 404 and len(answer.content) < 1000, answer.text[:1000]
        assert answer.headers["content-type"] == "application/problem+json"


def test_an_id_that_no_prediction_can_have_is_not_found(
    model_home: ModelHome, records_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLIGHTDECK_RECORDS_URI", records_uri)
    with TestClient(create_app(build_context(TOY, model_home.home))) as http:
        for identity in ("a%00b", "a%ffb", "%ed%a0%80", "%"):
            answer = http.get(f"/v1/predictions/{identity}")
            assert answer.status_code == 404 and "no prediction has the id" in answer.json()["detail"], answer.text


def test_the_longest_id_is_kept_whole_whatever_its_characters(app: App) -> None:
    identity = "\N{GRINNING FACE}/" * 64
    (answer,) = app.ask(reading(id=identity))
    assert answer["id"] == identity
    assert app.http.get(f"/v1/predictions/{identity}").json() == answer
    assert app.ask(reading(id=identity)) == [answer] and len(read_log(app.log)) == 1
    assert app.http.post("/v1/outcomes", json={"id": identity, "label": 0}).status_code == 200
    assert labels(app.log) == {identity: (0.0, app.clock.now())}


NUMBERS = {"0." + "3" * 400: 1 / 3, "1" + "0" * 400 + "e-400": 1.0, "2." + "0" * 400: 2.0, "1e-400": 0.0}


@pytest.mark.parametrize("text", NUMBERS, ids=lambda text: text[:4])
def test_a_number_of_400_digits_is_read_exactly(app: App, text: str) -> None:
    content = body(reading(id="a"), "load", text)
    first, again = (app.http.post("/v1/predictions", content=content) for _ in range(2))
    assert first.status_code == 200 and first.json() == again.json()
    (row,) = read_log(app.log)
    assert row.request["load"] == NUMBERS[text] and row.features["load"] == pytest.approx(NUMBERS[text])
