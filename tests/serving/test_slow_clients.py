"""Slow or disconnecting clients: others are answered meanwhile, and nothing of an incomplete call is logged."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipelines.context import Context
from pipelines.serving.predict import Predictor
from tests.predictions import read_log
from tests.services import thorough
from tests.serving.conftest import App, ModelHome, listening, reading
from tests.serving.connections import PATH, Line, Served, line, post, served_over
from tests.serving.test_process import client
from tests.serving.test_workers import wait_for


@pytest.fixture(scope="module")
def served(model_home: ModelHome, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served_over(model_home, f"sqlite:///{tmp_path_factory.mktemp('wire') / 'records.db'}") as one:
        yield one


@thorough
def test_a_body_sent_byte_by_byte_is_answered_and_delays_no_other_client(served: Served) -> None:
    call = post(reading(id="slow"))
    with line(served.url) as slow:
        slow.send(call[:-1], 1)
        served.ask("beside-slow")
        assert served.logged("slow") == []
        slow.send(call[-1:])
        assert slow.answer().identity == "slow"
    assert served.logged("slow") == ["slow"]


@thorough
def test_endless_headers_delay_no_other_client(served: Served) -> None:
    head = post(reading(id="endless")).partition(b"content-length")[0]
    before = served.count(400)
    with line(served.url) as one, line(served.url) as other, line(served.url) as third:
        for n in range(200):
            one.send(f"x-{n}: {n}\r\n".encode() if n else head)
            other.send(b"POST " if n == 0 else b"/")
            third.send(head if n == 0 else b"y" * 300)
        served.ask("beside-endless")
    served.ask("after-endless")
    assert served.logged("endless") == [] and served.count(400) == before


@thorough
@pytest.mark.parametrize(
    "leaves", [Line.reset, lambda line: line.socket.shutdown(socket.SHUT_WR)], ids=["reset", "end"]
)
@pytest.mark.parametrize("kind", ["prediction", "batch", "chunked"])
def test_nothing_of_an_incomplete_body_is_logged(served: Served, leaves: Callable[[Line], None], kind: str) -> None:
    """Also where the bytes received are a whole request, and fewer than the announced length."""
    item = json.dumps(reading(id="half")).encode()
    sent = {
        "prediction": post(item + b" ")[:-1],
        "batch": post(b'{"requests": [' + item + b"," + item + b"]}")[:-20],
        "chunked": post(b"").replace(b"content-length: 0", b"transfer-encoding: chunked")
        + f"{len(item):x}\r\n".encode()
        + item
        + b"\r\n",
    }
    before = served.count(400)
    with line(served.url) as half:
        half.send(sent[kind])
        served.ask(f"beside-{kind}-{leaves.__name__}")
        leaves(half)
        wait_for(lambda: served.count(400) == before + 1)
    assert served.logged("half") == []
    served.ask(f"after-{kind}-{leaves.__name__}")


@thorough
def test_calls_of_disconnected_clients_are_logged_at_most_once_and_can_be_repeated(served: Served) -> None:
    ids = [f"gone-{n:02}" for n in range(40)]
    for n, identity in enumerate(ids):
        with line(served.url) as gone:
            gone.send(post(reading(id=identity, pump=f"{n}")) * 2)
            if n % 2:
                gone.reset()
    with client(served.url) as http:
        for n, identity in enumerate(ids):
            answer = http.post(PATH, json=reading(id=identity, pump=f"{n}"))
            assert answer.status_code == 200
            assert answer.json()["predictions"] == [http.get(f"{PATH}/{identity}").json()]
    assert sorted(served.logged("gone-")) == ids


@thorough
def test_an_idle_client_does_not_keep_the_server_from_stopping(model_home: ModelHome, context: Context) -> None:
    with served_over(model_home, context.settings.records) as one, line(one.url) as half, line(one.url) as idle:
        half.send(post(reading(id="half"))[:-1])
        idle.send(b"POST ")
        one.ask("beside-half")
        one.process.process.terminate()
        answer = half.answer()
        assert answer.status == 503 and answer.headers["retry-after"] == "1" and half.is_over() and idle.is_over()
        assert answer.content["detail"].startswith("the server ends; send the call again later")
        ended = one.process.wait()
        assert ended.returncode in (0, -signal.SIGTERM) and "Application shutdown complete" in ended.stderr
        assert one.logged("half") == []


def test_a_call_is_logged_once_where_its_client_disconnects_during_the_answer(
    serve: Callable[..., App], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, answer = threading.Event(), Predictor.answer

    def noting(predictor: Predictor, calls: Any) -> Any:
        begun.set()
        return answer(predictor, calls)

    monkeypatch.setattr(Predictor, "answer", noting)
    app = serve()
    app.plan()
    app.ask(reading(id="before"))
    holder = sqlite3.connect(str(app.context.records.engine.url.database), isolation_level=None)
    with listening(app) as url, client(url) as http:
        holder.execute("begin immediate")
        with line(url) as gone:
            gone.send(post({"requests": [reading(id="gone"), reading(), reading()]}))
            assert begun.wait(60)
            gone.reset()
        assert http.get(f"{PATH}/before").status_code == 200, "others are answered meanwhile"
        assert [row.prediction_id for row in read_log(app.log)] == ["before"]
        holder.execute("rollback")
        again = http.post(PATH, json=reading(id="gone"))
        assert again.status_code == 200
    holder.close()
    rows = {row.prediction_id: row for row in read_log(app.log)}
    assert len(rows) == 4 and rows["gone"].score == again.json()["predictions"][0]["score"]
