"""The short path of predictions through uvicorn: which calls take it, and that answers are the same on both."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from pipelines.serving import app as app_module
from pipelines.serving.server import Server
from tests.predictions import read_log
from tests.serving.conftest import App, Hold, listening, reading
from tests.serving.connections import Line, get, line, post
from tests.serving.test_workers import wait_for


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The path that each call took."""
    taken: list[str] = []
    begin, predict = Server.begin, Server.predict

    def short(server: Server, body: bytes, caller: Any) -> None:
        taken.append("short")
        begin(server, body, caller)

    async def long(server: Server, body: bytes) -> Any:
        taken.append("long")
        return await predict(server, body)

    monkeypatch.setattr(Server, "begin", short)
    monkeypatch.setattr(Server, "predict", long)
    return taken


def test_both_paths_give_the_same_answer_but_for_id_and_time(
    app: App, ways: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, read = threading.Event(), app_module._read

    async def noting(receive: Any, limit: int) -> bytes:
        waits.set()
        return await read(receive, limit)

    def in_pieces(one: Line, call: bytes) -> None:
        head, _, body = call.partition(b"\r\n\r\n")
        waits.clear()
        one.send(head + b"\r\n\r\n")
        assert waits.wait(20), "the head has arrived, and the app waits for the body"
        one.send(body)

    monkeypatch.setattr(app_module, "_read", noting)
    calls = [reading(), reading(plant="east"), {"requests": [reading(), reading(pump="2")]}, b"{", b" "]
    with listening(app) as url, line(url) as one:
        for call in calls:
            ways.clear()
            one.send(post(call))
            short = one.answer()
            in_pieces(one, post(call))
            long = one.answer()
            assert ways == ["short", "long"] and short.status == long.status
            assert {**short.headers, "date": ""} == {**long.headers, "date": "", **length(short.headers)}
            assert without_ids(short.content) == without_ids(long.content)


def length(headers: dict[str, str]) -> dict[str, str]:
    return {"content-length": headers["content-length"]}  # scores in runs of other rows may differ in the last digit


def without_ids(content: Any) -> Any:
    predictions = content.pop("predictions", [])
    return content, [(round(one["score"], 6), one["version"], one["decision"], one["plan"]) for one in predictions]


def test_calls_with_unusual_headers_take_the_long_path(app: App, ways: list[str]) -> None:
    with listening(app) as url, line(url) as one:
        one.send(post(reading(id="asks"), "1.1", "expect: 100-continue"))
        assert one.received.readline().startswith(b"HTTP/1.1 100 ") and one.received.readline() == b"\r\n"
        assert one.answer().identity == "asks" and ways == ["long"]
        one.send(get("/healthz") + post(reading(id="behind")) + post(reading(id="last"), "1.1", "connection: close"))
        assert one.answer().content == {"status": "ok"}
        assert [one.answer().identity for _ in range(2)] == ["behind", "last"] and one.is_over()
    assert ways == ["long", "short", "short"]


def test_bytes_that_are_no_http_end_their_own_connection_only(app: App) -> None:
    with listening(app) as url:
        with line(url) as one:
            one.send(post(reading(id="first")) + b"nothing\r\n\r\n")
            assert one.received.readline().split()[1] == b"400"
        with line(url) as one:
            one.send(post(reading(id="second")))
            assert one.answer().identity == "second"
    assert "second" in [row.prediction_id for row in read_log(app.log)]


def test_hundreds_of_pipelined_refusals_disturb_no_other_client(app: App) -> None:
    """Each is answered at once, and starts parsing of the next."""
    with listening(app) as url, line(url) as bad, line(url) as other:
        for _ in range(5):
            bad.send(post(reading()) + post(b"{") * 400)
            other.send(post(reading()))
            assert other.answer().status == 200
            assert [bad.answer().status for _ in range(401)] == [200, *[400] * 400]


def test_calls_that_waited_too_long_are_refused_also_where_their_clients_sent_more(
    serve: Callable[..., App], hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLIGHTDECK_SERVING_PATIENCE", "1")
    app = serve()
    app.plan()
    with listening(app) as url, line(url) as first, line(url) as two, line(url) as other:
        first.send(post(reading()))
        assert hold.begun.wait(20)
        two.send(post(reading()) + post(reading()))
        other.send(post(reading()))
        assert [one.answer().status for one in (two, other)] == [503, 503]
        hold.free.set()
        assert first.answer().status == 200 and two.answer().status in (200, 503)


def test_what_is_too_much_is_refused_whichever_way_it_comes_and_logged_nowhere(
    serve: Callable[..., App], hold: Hold, monkeypatch: pytest.MonkeyPatch, ways: list[str]
) -> None:
    monkeypatch.setenv("FLIGHTDECK_SERVING_MAX_WAITING", "2")
    app = serve()
    app.plan()
    waiting = app.http.app.state.server.gatherer._waiting  # type: ignore[attr-defined]
    with listening(app) as url, line(url) as first, line(url) as second, line(url) as more:
        first.send(post(reading(id="first")))
        assert hold.begun.wait(20)
        second.send(post(reading(id="second")))
        wait_for(lambda: len(waiting) == 1)
        ways.clear()
        more.send(post({"requests": [reading(id="a"), reading(id="b")]}))
        short = more.answer()
        more.send(post({"requests": [reading(id="a"), reading(id="b")]}, "1.1", "expect: 100-continue"))
        assert more.received.readline().startswith(b"HTTP/1.1 100 ") and more.received.readline() == b"\r\n"
        for refused in (short, more.answer()):
            assert (refused.status, refused.headers["retry-after"]) == (429, "1")
            assert refused.headers["content-type"] == "application/problem+json"
            assert refused.content["detail"] == "more than 2 rows wait for their answer; send it again later"
        assert ways == ["short", "long"]
        more.send(post(reading(id="third")))
        wait_for(lambda: len(waiting) == 2)
        hold.free.set()
        assert [one.answer().identity for one in (first, second, more)] == ["first", "second", "third"]
        more.send(post({"requests": [reading(id="a"), reading(id="b")]}))
        assert more.answer().status == 200, "later"
    assert sorted(row.prediction_id for row in read_log(app.log)) == ["a", "b", "first", "second", "third"]


@pytest.mark.parametrize(("patience", "status"), [(20, 200), (1, 503)])
def test_a_stopping_server_answers_the_call_under_way(
    serve: Callable[..., App], hold: Hold, patience: int, status: int
) -> None:
    app = serve()
    app.plan()
    with ExitStack() as lines:
        with listening(app, timeout_graceful_shutdown=patience) as url:
            one = lines.enter_context(line(url))
            one.send(post(reading(id="held")))
            assert hold.begun.wait(20)
            if status == 200:
                threading.Timer(0.5, hold.free.set).start()
        last = one.answer()
        hold.free.set()
        assert last.status == status and one.is_over()
    assert status == 200 or last.content["detail"].startswith("the server ends")
