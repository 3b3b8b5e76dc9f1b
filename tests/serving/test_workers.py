"""Several processes behind one port: one log, one set of metrics, and no worker that outlives its parent."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from pipelines.context import Context
from pipelines.serving.metrics import Metrics
from tests.conftest import ROOT, TOY
from tests.predictions import read_log
from tests.services import thorough
from tests.serving.conftest import ModelHome, reading
from tests.serving.test_command import free_port


@contextmanager
def server(home: Path, workers: int) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    port = free_port()
    command = [sys.executable, "-m", "pipelines.serving", "--params", str(TOY), "--home", str(home)]
    places = {"FLIGHTDECK_SERVING_PORT": str(port), "FLIGHTDECK_SERVING_WORKERS": str(workers)}
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **places}, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: len(children(process.pid)) >= workers and answers(url))
        yield process, url
    finally:
        process.terminate()
        process.wait(60)


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not come true"
        time.sleep(0.05)


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", trust_env=False, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def children(pid: int) -> list[int]:
    """The workers of a server: its child processes without the resource tracker."""
    workers = []
    for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(OSError):  # the process has ended meanwhile
            if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes():
                workers.append(int(one))
    return workers


def wait_for_more(acknowledged: list[str]) -> None:
    """Wait until a hundred more requests are answered."""
    enough = len(acknowledged) + 100
    wait_for(lambda: len(acknowledged) > enough)


def kill_one(server: int, number: int) -> None:
    """Kill one of two workers, and wait until a new one has started."""
    before = children(server)
    os.kill(before[number % len(before)], signal.SIGKILL)
    wait_for(lambda: len(children(server)) == 2 and children(server) != before)


def ask_on(url: str, name: str, acknowledged: list[str], done: threading.Event) -> None:
    """Send each request over a new connection, so that every worker gets some; retry where it is cut."""
    number = 0
    while not done.is_set():
        number += 1
        try:
            sent = reading(id=f"{name}-{number}")
            answer = httpx.post(f"{url}/v1/predictions", json=sent, trust_env=False, timeout=30)
        except httpx.TransportError:
            continue
        assert answer.status_code == 200, answer.text
        acknowledged.append(answer.json()["predictions"][0]["id"])


@pytest.mark.parametrize("kills", [pytest.param(1, marks=thorough), pytest.param(25, marks=pytest.mark.soak)])
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers by Linux's /proc")
def test_a_killed_worker_is_restarted_and_loses_nothing(model_home: ModelHome, context: Context, kills: int) -> None:
    acknowledged: list[str] = []
    done = threading.Event()
    with server(model_home.home, 2) as (process, url):
        threads = [threading.Thread(target=ask_on, args=(url, f"t{n}", acknowledged, done)) for n in range(4)]
        for thread in threads:
            thread.start()
        for kill in range(kills):
            wait_for_more(acknowledged)
            kill_one(process.pid, kill)
        wait_for_more(acknowledged)
        done.set()
        for thread in threads:
            thread.join(60)
        time.sleep(1.5)  # each worker writes its counts once a second
        text = httpx.get(f"{url}/metrics", trust_env=False).text
        lines = re.findall(r"^flightdeck_predictions_total\{.*\} (\S+)$", text, re.MULTILINE)
        total = sum(map(float, lines))
        logged = Counter(row.prediction_id for row in read_log(context.predictions))
        assert set(acknowledged) <= set(logged) and set(logged.values()) == {1}
        assert 100 <= total <= len(logged), "the killed worker had not written all of its counts"


@thorough
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers by Linux's /proc")
def test_workers_end_with_their_parent(model_home: ModelHome, context: Context) -> None:
    with server(model_home.home, 2) as (process, url):
        workers = children(process.pid)
        assert len(workers) == 2
        process.kill()
        process.wait()
        wait_for(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
        assert not answers(url)


def test_metrics_are_summed_over_processes_including_those_that_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (processes_metrics(tmp_path, monkeypatch, pid) for pid in (11, 12))
    one.note_call("predictions", 200, 0.003)
    one.note_call("predictions", 503, 0.3)
    two.note_call("predictions", 200, 0.004)
    two.note_errors({"1": 3})
    one.leave()
    del one

    def value(name: str, **labels: str) -> float | None:
        return two.registry.get_sample_value(f"flightdeck_{name}", labels)

    assert value("http_requests_total", endpoint="predictions", status="200") == 2
    assert value("http_requests_total", endpoint="predictions", status="503") == 1
    assert value("version_errors_total", version="1") == 3
    assert value("http_request_seconds_count", endpoint="predictions") == 3
    assert value("http_request_seconds_bucket", endpoint="predictions", le="0.005") == 2
    assert value("http_request_seconds_sum", endpoint="predictions") == pytest.approx(0.307)


def processes_metrics(folder: Path, monkeypatch: pytest.MonkeyPatch, pid: int) -> Metrics:
    with monkeypatch.context() as patched:
        patched.setattr(os, "getpid", lambda: pid)
        return Metrics(folder)
