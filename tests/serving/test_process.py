"""The server as a process of its own: its imports, what survives a kill, and two servers at once."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipelines.context import Context
from tests.commands import Command, fork
from tests.conftest import ROOT, TOY
from tests.predictions import read_log
from tests.services import thorough
from tests.serving.conftest import ModelHome, reading

TRAINING = {"torch", "sklearn", "mlflow", "great_expectations", "evidently", "airflow", "skl2onnx", "onnx"}


def client(url: str) -> httpx.Client:
    """A client of a server on this machine: it needs no certificates, which take long to read."""
    return httpx.Client(base_url=url, trust_env=False, verify=False, timeout=30)


def serve(home: Path) -> int:
    from pipelines.serving.__main__ import main

    return main(["--params", str(TOY), "--home", str(home)])


def started(home: Path, port: int | str) -> Command:
    return fork(partial(serve, home), {"FLIGHTDECK_SERVING_PORT": str(port)})


@contextmanager
def server(home: Path) -> Iterator[tuple[Command, str]]:
    """A ready server on a free port, killed at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = started(home, port)
    url = f"http://127.0.0.1:{port}"
    try:
        with client(url) as http:
            for _ in range(600):
                assert not process.ended(), "the server has ended"
                try:
                    if http.get("/readyz").status_code == 200:
                        break
                except httpx.TransportError:
                    time.sleep(0.1)
        yield process, url
    finally:
        process.kill()


def ask_on(url: str, name: str, acknowledged: list[str], until: Callable[[], bool], size: int = 3) -> None:
    """Send batches with ids, and collect the acknowledged ones."""
    with client(url) as http:
        number = 0
        while not until():
            ids = [f"{name}-{number}-{n}" for n in range(size)]
            number += 1
            try:
                answer = http.post("/v1/predictions", json={"requests": [reading(id=identity) for identity in ids]})
            except httpx.TransportError:
                return
            assert answer.status_code == 200, answer.text
            assert [item["id"] for item in answer.json()["predictions"]] == ids
            acknowledged += ids


@pytest.mark.parametrize("kills", [pytest.param(2, marks=thorough), pytest.param(25, marks=pytest.mark.soak)])
def test_a_killed_server_has_logged_whatever_it_acknowledged(
    model_home: ModelHome, context: Context, kills: int
) -> None:
    acknowledged: list[str] = []
    for kill in range(kills):
        at = len(acknowledged)
        with server(model_home.home) as (process, url):
            names = [f"k{kill}t{n}" for n in range(4)]
            threads = [threading.Thread(target=ask_on, args=(url, name, acknowledged, lambda: False)) for name in names]
            for thread in threads:
                thread.start()
            while len(acknowledged) < at + 200:
                time.sleep(0.01)
            assert process.kill() == -signal.SIGKILL
            for thread in threads:
                thread.join(timeout=60)
    rows = read_log(context.predictions)
    assert set(acknowledged) <= {row.prediction_id for row in rows} and len(rows) % 3 == 0
    assert all({"1", row.served} <= set(row.scores) <= {"1", "2"} and not row.errors for row in rows)
    with server(model_home.home) as (_, url), client(url) as http:
        again = http.post("/v1/predictions", json=reading(id=acknowledged[-1])).json()
        (row,) = context.predictions.get([acknowledged[-1]])
        assert again["predictions"][0]["score"] == row.score


SIDES = (("champion", "challenger"), ("challenger", "champion"))


@thorough
def test_two_servers_share_a_database(model_home: ModelHome, context: Context) -> None:
    acknowledged: list[str] = []
    together, told = threading.Barrier(2), threading.Event()

    def same(url: str, contended: list[dict[str, Any]]) -> None:
        with client(url) as http:
            for n in range(60):
                together.wait(60)
                contended.append(http.post("/v1/predictions", json=reading(id=f"same-{n}")).json())
        told.set()

    def change() -> None:
        """Swap the versions again and again: two servers answer by different plans, if each answers for itself."""
        while not told.is_set():
            plan = context.plans.current()
            assert plan and plan.challenger
            other = {
                f"{one}{part}": getattr(plan, f"{two}{part}") for part in ("", "_uri", "_sha256") for one, two in SIDES
            }
            assert context.plans.replace(replace(plan, version=plan.version + 1, **other))

    with ExitStack() as stack:
        urls = [stack.enter_context(server(model_home.home))[1] for _ in range(2)]
        ends = time.monotonic() + 3
        answers: list[list[dict[str, Any]]] = [[], []]
        work = [
            threading.Thread(target=ask_on, args=(url, f"s{n}", acknowledged, lambda: time.monotonic() > ends))
            for n, url in enumerate(urls * 2)
        ] + [threading.Thread(target=same, args=pair) for pair in zip(urls, answers, strict=True)]
        work.append(threading.Thread(target=change))
        for thread in work:
            thread.start()
        for thread in work:
            thread.join(timeout=120)
    rows = read_log(context.predictions)
    written = {row.prediction_id: row for row in rows}
    assert set(acknowledged) | {f"same-{n}" for n in range(60)} == set(written) and len(rows) == len(written)
    assert answers[0] == answers[1]
    same_ones = [item for answer in answers[0] for item in answer["predictions"]]
    assert [item["id"] for item in same_ones] == [f"same-{n}" for n in range(60)]
    assert len({item["plan"] for item in same_ones}) > 1
    for item in same_ones:
        row = written[item["id"]]
        assert (row.score, row.served, row.plan) == (item["score"], item["version"], item["plan"])


SERVED = """
import sys
from starlette.testclient import TestClient
from pipelines.context import build_context
from pipelines.serving.app import create_app
with TestClient(create_app(build_context({toy!r}, {home!r}))) as http:
    answer = http.post("/v1/predictions", json={request!r})
    assert answer.status_code == 200, answer.text
    assert http.post("/v1/outcomes", json={{"id": "a", "label": 1}}).status_code == 200
    assert http.get("/metrics").status_code == http.get("/readyz").status_code == 200
print(*sys.modules)
"""


def test_a_server_that_has_served_needs_no_training_library_and_no_step(
    model_home: ModelHome, context: Context
) -> None:
    script = SERVED.format(toy=str(TOY), home=str(model_home.home), request=reading(id="a"))
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    modules = done.stdout.split("\n")[-2].split()
    assert not TRAINING & {name.partition(".")[0] for name in modules}
    steps = ("ingestion", "validation", "features", "training", "registration", "monitoring", "tracking", "steps")
    assert not {f"pipelines.{folder}" for folder in steps} & set(modules)
