"""Whatever is sent, the answer says what to correct, and is never a 5xx."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from pipelines.serving.app import _read
from pipelines.serving.schemas import Refusal
from tests.predictions import labels, read_log
from tests.serving.conftest import App, reading

GOOD = json.dumps(reading())
BAD = {
    "nothing": ("", 400, "not JSON"),
    "half": (GOOD[:-5], 400, "not JSON"),
    "no UTF-8": (b'{"pump": "\xff"}', 400, "not JSON"),
    "half a character": ('{"pump": "\\ud800"}', 400, "not JSON"),
    "deep": ("[" * 50_000, 400, "not JSON"),
    "long number": (GOOD.replace("0.5", "9" * 6000), 400, "not JSON"),
    "a list": (f"[{GOOD}]", 422, "must be one object"),
    "null": ("null", 422, "must be one object"),
    "empty batch": ('{"requests": []}', 422, "requests: is empty"),
    "no list": ('{"requests": {}}', 422, "requests: should be a valid array"),
    "item no object": ('{"requests": [3]}', 422, "requests[0]: should be an object"),
    "beside a batch": (
        f'{{"requests": [{GOOD}], "x": 1}}',
        422,
        "x: unknown key; remove it or correct its spelling (req",
    ),
    "missing key": (GOOD.replace('"pump": "1", ', ""), 422, "pump: is missing"),
    "unknown key": (GOOD.replace("pump", "pmup"), 422, "more"),
    "null key": (GOOD.replace('"1"', "null"), 422, "pump: should be a valid string"),
    "number for text": (GOOD.replace('"1"', "1"), 422, "pump: should be a valid string (got 1)"),
    "text for a number": (GOOD.replace("0.5", '"0.5"'), 422, "load: should be a valid number"),
    "true for a number": (GOOD.replace("0.5", "true"), 422, "load: should be a valid number"),
    "NaN": (GOOD.replace("0.5", "NaN"), 422, "load: should be a finite number"),
    "infinity": (GOOD.replace("0.5", "-Infinity"), 422, "load: should be a finite number"),
    "overflow": (GOOD.replace("0.5", "1e999"), 422, "load: should be a finite number"),
    "unknown category": (GOOD.replace("south", "east"), 422, "plant: should be 'north' or 'south' (got 'east')"),
    "no zone": (GOOD.replace("+00:00", ""), 422, "read_at: should be an instant"),
    "no such day": (GOOD.replace("04-19", "02-30"), 422, "read_at: should be an instant of the years 2000 to 2099"),
    "key twice": (GOOD.replace("{", '{"pump": "2", ', 1), 400, "the key 'pump' stands twice in one object"),
    "key twice, escaped": (GOOD.replace("{", '{"\\u0070ump" : "2", ', 1), 400, "the key 'pump' stands twice"),
    "key twice in an item": (f'{{"requests": [{GOOD}, {GOOD[:-1]}, "load": 1}}]}}', 400, "the key 'load' stands twice"),
    "batch twice": (f'{{"requests": [{GOOD}], "requests": [{GOOD}]}}', 400, "the key 'requests' stands twice"),
    "no instant": (GOOD.replace("2024-04-19T", "2024-13-19T"), 422, "read_at:"),
    "a number for an instant": (GOOD.replace('"2024-04-19T05:30:00+00:00"', "17"), 422, "read_at:"),
    "antiquity": (GOOD.replace("2024-", "0001-").replace("+00", "+14"), 422, "read_at:"),
    "empty id": (GOOD.replace("{", '{"id": "", ', 1), 422, "id:"),
    "long id": (GOOD.replace("{", f'{{"id": "{"x" * 129}", ', 1), 422, "id:"),
    "control in id": (GOOD.replace("{", '{"id": "\\u0000", ', 1), 422, "id:"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_requests_are_refused_with_item_field_and_remedy(app: App, name: str) -> None:
    body, status, message = BAD[name]
    answer = app.http.post("/v1/predictions", content=body)
    assert answer.status_code == status and message in answer.json()["detail"], answer.text
    assert read_log(app.log) == []


def test_one_bad_item_of_many_is_named_and_none_is_scored(app: App) -> None:
    items = [reading(id="a"), reading(id="b"), reading(id="c", plant="east")]
    answer = app.http.post("/v1/predictions", json={"requests": items})
    assert answer.status_code == 422
    (problem,) = answer.json()["problems"]
    assert problem == {"item": 2, "field": "plant", "problem": "should be 'north' or 'south' (got 'east')"}
    assert answer.json()["detail"].startswith("requests[2]: plant: should be") and app.log.get(["a", "b"]) == []


def test_calls_beyond_a_limit_are_refused(serve: Callable[..., App], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLIGHTDECK_SERVING_MAX_BATCH", "3")
    monkeypatch.setenv("FLIGHTDECK_SERVING_MAX_BYTES", "2000")
    app = serve()
    app.plan()
    assert len(app.ask(*[reading()] * 3)) == 3
    many = app.http.post("/v1/predictions", json={"requests": [reading()] * 4})
    assert many.status_code == 422 and "holds more than 3" in many.json()["detail"]
    long = app.http.post("/v1/predictions", content=GOOD + " " * 2000)
    assert long.status_code == 413 and "longer than 2000 bytes" in long.json()["detail"]


def test_a_body_is_read_up_to_the_limit_only() -> None:
    read = 0

    async def receive() -> Message:
        nonlocal read
        read += 500
        return {"type": "http.request", "body": b" " * 500, "more_body": True}

    with pytest.raises(Refusal, match="longer than 2000 bytes"):
        asyncio.run(_read(receive, 2000))
    assert read == 2500


def test_a_body_of_a_disconnected_client_is_refused() -> None:
    began: Message = {"type": "http.request", "body": b"{", "more_body": True}
    messages = iter([began, {"type": "http.disconnect"}])

    async def receive() -> Message:
        return next(messages)

    with pytest.raises(Refusal, match="ended early") as gone:
        asyncio.run(_read(receive, 2000))
    assert gone.value.status == 400


def test_unknown_paths_and_methods_are_client_errors(app: App) -> None:
    nowhere = app.http.get("/v2/predictions")
    assert nowhere.status_code == 404 and nowhere.json()["detail"].startswith("GET /v2/predictions: not found")
    for method in ("GET", "PUT", "DELETE", "PATCH", "TRACE", "OPTIONS"):
        other = app.http.request(method, "/v1/predictions")
        assert other.status_code == 405 and other.headers["allow"] == "POST" and "not allowed" in other.json()["detail"]


def test_text_that_looks_like_a_key_within_a_string_is_not_read_as_one(app: App) -> None:
    (answer,) = app.ask(reading(id='say "pump": "load" : twice'))
    assert answer["id"] == 'say "pump": "load" : twice'


@pytest.mark.parametrize("claimed", ["text/plain", "application/x-www-form-urlencoded", "nonsense", ""])
def test_a_body_is_read_as_json_whatever_its_content_type(app: App, claimed: str) -> None:
    answer = app.http.post("/v1/predictions", content=GOOD, headers={"content-type": claimed})
    assert answer.status_code == 200, answer.text


def test_an_outcome_is_answered_as_recorded_repeated_contradicting_or_unknown(app: App) -> None:
    app.ask(reading(id="a"), reading(id="b"))

    def tell(*outcomes: tuple[str, Any]) -> tuple[int, list[str]]:
        sent = [{"id": identity, "label": label} for identity, label in outcomes]
        answer = app.http.post("/v1/outcomes", json={"outcomes": sent} if len(sent) > 1 else sent[0])
        assert (answer.status_code == 200) == ("detail" not in answer.json())
        return answer.status_code, [item["status"] for item in answer.json()["outcomes"]]

    assert tell(("a", 1)) == (200, ["recorded"])
    assert tell(("a", 1.0)) == (200, ["repeated"])
    assert tell(("nobody", 1), ("b", 0)) == (404, ["unknown", "recorded"]), "the valid ones are recorded"
    assert tell(("a", 0), ("nobody", 1), ("b", 0)) == (409, ["contradicts", "unknown", "repeated"])
    assert labels(app.log) == {"a": (1.0, app.clock.now()), "b": (0.0, app.clock.now())}
    counts = {arrival: app.metric("outcomes_total", arrival=arrival) for arrival in ("recorded", "unknown")}
    assert counts == {"recorded": 2, "unknown": 2}
    assert b"flightdeck_outcomes_total" in app.http.get("/metrics").content


@pytest.mark.parametrize("label", ["0.5", "2", "-1", "true", '"1"', "null", "NaN"])
def test_a_label_is_0_or_1(app: App, label: str) -> None:
    app.ask(reading(id="a"))
    body = f'{{"outcomes": [{{"id": "a", "label": 1}}, {{"id": "a", "label": {label}}}]}}'
    answer = app.http.post("/v1/outcomes", content=body)
    assert answer.status_code == 422 and answer.json()["detail"].startswith("outcomes[1]: label: ")
    assert labels(app.log) == {}


def test_an_outcome_with_missing_or_unknown_keys_is_refused(app: App) -> None:
    for body in ('{"id": "a"}', '{"id": "a", "label": 1, "known_at": "2024-01-01"}', '{"outcomes": []}', "[]"):
        assert app.http.post("/v1/outcomes", content=body).status_code == 422


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)
INSTANTS = st.datetimes().map(lambda at: at.isoformat()) | st.datetimes().map(lambda at: f"{at.isoformat()}+13:59")
VALUES = JSON | INSTANTS | st.sampled_from(["1", "north", "south", 0.5, 1e308, -0.0, 10**30, "2024-04-19T05:30:00Z"])
KEYS = st.sampled_from(["pump", "plant", "load", "read_at", "id", "label", "requests", "outcomes", "x"])
ITEMS = st.dictionaries(KEYS, VALUES) | st.dictionaries(KEYS, VALUES, max_size=2).map(lambda some: reading(**some))
BODIES = st.one_of(
    st.binary(max_size=50),
    JSON.map(lambda value: json.dumps(value).encode()),
    ITEMS.map(lambda item: json.dumps(item).encode()),
    st.lists(ITEMS, max_size=3).map(lambda items: json.dumps({"requests": items}).encode()),
    st.lists(ITEMS, max_size=3).map(lambda items: json.dumps({"outcomes": items}).encode()),
)


@given(path=st.sampled_from(["/v1/predictions", "/v1/outcomes"]), body=BODIES)
def test_no_request_causes_a_server_error(app: App, path: str, body: bytes) -> None:
    answer = app.http.post(path, content=body)
    assert answer.status_code in (200, 400, 404, 409, 422), answer.text
    assert answer.status_code == 200 or answer.json()["detail"] or path == "/v1/outcomes"
    if answer.status_code == 200 and path == "/v1/predictions":
        ids = [item["id"] for item in answer.json()["predictions"]]
        assert len(app.log.get(ids)) == len(ids) > 0
