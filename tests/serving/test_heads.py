"""Heads of calls, request line and headers, have a limit and a time, whichever way a call takes."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from pipelines.serving import protocol
from tests.predictions import read_log
from tests.serving.conftest import App, Hold, listening, reading
from tests.serving.connections import Answer, get, line, post

LONG = f"x-long: {'y' * 600}"


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that one packet can break."""
    monkeypatch.setattr(protocol, "LONGEST", 500)


def require_refusal(answer: Answer, status: int, detail: str) -> None:
    assert (answer.status, answer.content["status"]) == (status, status) and detail in answer.content["detail"]
    assert answer.headers["content-type"] == "application/problem+json" and answer.headers["connection"] == "close"


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(
    "call",
    [
        post(reading(id="long"), "1.1", LONG),
        post(reading(id="long"), "1.1", LONG, "expect: 100-continue"),
        get("/healthz").replace(b"\r\n\r\n", f"\r\n{LONG}\r\n\r\n".encode()),
        get(f"/{'y' * 600}"),
        get(f"/healthz?{'y' * 600}"),
        get("/healthz").replace(b"\r\n\r\n", b"\r\n" + b"x: y\r\n" * 100 + b"\r\n"),
    ],
    ids=["short way", "long way", "app", "path", "query", "many"],
)
def test_a_head_that_is_too_long_is_refused_and_its_connection_ends(app: App, call: bytes) -> None:
    with listening(app) as url, line(url) as one:
        one.send(call)
        require_refusal(one.answer(), 431, "longer than")
        assert one.is_over()
    assert read_log(app.log) == []


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("ends", [b"x-header: y\r\n", b"y"], ids=["headers", "value"])
@pytest.mark.parametrize("before", [b"", post(reading())], ids=["first", "second"])
def test_a_head_without_an_end_is_refused_once_it_is_too_long(app: App, before: bytes, ends: bytes) -> None:
    with listening(app) as url, line(url) as one:
        if before:
            one.send(before)
            assert one.answer().status == 200
        one.send(post(reading(id="long")).partition(b"\r\n\r\n")[0] + b"\r\nx-header: ")
        one.send(ends * (550 // len(ends)))
        require_refusal(one.answer(), 431, "longer than")
        assert one.is_over()
    assert len(read_log(app.log)) == bool(before)


@pytest.mark.usefixtures("short")
def test_a_body_is_no_part_of_a_head_nor_is_the_call_before(app: App) -> None:
    large, small = {"requests": [reading()] * 20}, post(reading(id="next"))
    with listening(app) as url, line(url) as one:
        for cut in (10, 60):
            one.send(post(large) + small[:cut])
            assert len(one.answer().content["predictions"]) == 20
            one.send(small[cut:])
            assert one.answer().identity == "next"
        one.send(post(large, "1.1", "x: y"), 400)
        assert one.answer().status == 200


@pytest.mark.usefixtures("short")
def test_calls_before_a_head_that_is_too_long_have_their_answers(
    serve: Callable[..., App], hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = serve()
    app.plan()
    refused, refuse = threading.Event(), protocol.PredictionProtocol._refuse_head

    def noting(connection: protocol.PredictionProtocol, status: int, detail: str) -> None:
        refuse(connection, status, detail)
        refused.set()

    monkeypatch.setattr(protocol.PredictionProtocol, "_refuse_head", noting)
    with listening(app) as url, line(url) as one:
        one.send(post(reading(id="held")))
        assert hold.begun.wait(20)
        one.send(b"GET /healthz HTTP/1.1\r\n")
        one.send(LONG.encode())
        assert refused.wait(20)
        hold.free.set()
        answered = one.answer()
        assert answered.identity == "held" and answered.headers["connection"] == "close" and one.is_over()


def test_a_head_has_a_time_and_a_body_has_none(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "WITHIN", 0.5)
    call = post(reading(id="slow"))
    with listening(app) as url, line(url) as body, line(url) as head, line(url) as silent:
        body.send(call[:-1])
        head.send(post(reading(id="quick")) + b"POST ")
        assert head.answer().identity == "quick"
        require_refusal(head.answer(), 408, "within 0.5 s")
        assert head.is_over() and silent.is_over()
        body.send(call[-1:])
        assert body.answer().identity == "slow"
