"""A server whose clock steps back logs nothing behind its watermark."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

import pytest
from starlette.testclient import TestClient

from pipelines.context import Context
from pipelines.serving.app import create_app
from pipelines.serving.writer import LogWriter
from tests.predictions import labels, read_log
from tests.serving.conftest import reading
from tests.serving.test_workers import wait_for

HOUR = timedelta(hours=1)


@dataclass
class Stepping:
    """A clock set by a test, which counts the readings of each thread."""

    at: datetime
    looks: dict[str, int] = field(default_factory=dict)

    def now(self) -> datetime:
        name = threading.current_thread().name
        self.looks[name] = self.looks.get(name, 0) + 1
        return self.at

    def step(self, by: timedelta) -> None:
        """Step, and wait until the thread of the log's writer has seen it and written the resulting watermark."""
        self.at += by
        before = self.looks.get("log writer", 0)
        wait_for(lambda: self.looks.get("log writer", 0) >= before + 2)


@pytest.fixture
def clock(context: Context) -> Stepping:
    return Stepping(context.clock.now())


@pytest.fixture
def start(context: Context, clock: Stepping, monkeypatch: pytest.MonkeyPatch) -> Callable[[], TestClient]:
    """Start a server on the clock, over a shared log, whose watermark follows at once."""
    monkeypatch.setattr("pipelines.serving.server.LogWriter", partial(LogWriter, every=0.02))
    return lambda: TestClient(create_app(context.replaced(clock=clock)), raise_server_exceptions=True)


def watermark(context: Context) -> datetime:
    (one,) = context.writers.all()
    return one.watermark


def ask(http: TestClient, identity: str) -> None:
    answer = http.post("/v1/predictions", json=reading(id=identity))
    assert answer.status_code == 200, answer.text


def tell(http: TestClient, identity: str) -> None:
    answer = http.post("/v1/outcomes", json={"id": identity, "label": 1})
    assert answer.status_code == 200, answer.text


def test_after_a_clock_step_back_predictions_and_outcomes_stay_at_the_watermark_until_the_clock_passes_it(
    context: Context, clock: Stepping, start: Callable[[], TestClient]
) -> None:
    first = clock.at
    with start() as http:
        ask(http, "before")
        clock.step(timedelta(seconds=1))
        promised = watermark(context)
        assert promised == first + timedelta(seconds=1)
        clock.step(-HOUR)
        assert watermark(context) == promised, "the watermark does not move back"
        ask(http, "behind")
        tell(http, "before")
        clock.step(timedelta(minutes=30))
        ask(http, "still behind")
        assert watermark(context) == promised
        clock.step(HOUR)
        ask(http, "after")
        tell(http, "behind")
        later = first + timedelta(minutes=30, seconds=1)
        assert watermark(context) == later
    instants = {row.prediction_id: row.predicted_at for row in read_log(context.predictions)}
    assert instants == {"before": first, "behind": promised, "still behind": promised, "after": later}
    assert labels(context.predictions) == {"before": (1.0, promised), "behind": (1.0, later)}


def test_a_restarted_server_whose_clock_is_behind_continues_from_the_watermark(
    context: Context, clock: Stepping, start: Callable[[], TestClient]
) -> None:
    with start() as http:
        ask(http, "before")
        clock.step(timedelta(seconds=1))
    promised = watermark(context)
    clock.at -= timedelta(minutes=59)
    with start() as http:
        ask(http, "behind")
        tell(http, "before")
        assert watermark(context) == promised
    instants = {row.prediction_id: row.predicted_at for row in read_log(context.predictions)}
    assert instants == {"before": promised - timedelta(seconds=1), "behind": promised}
    assert labels(context.predictions) == {"before": (1.0, promised)}
