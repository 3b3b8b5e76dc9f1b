"""A full disk under the log: calls are refused whole, and accepted once when they are repeated later."""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from pipelines.context import Context
from tests.predictions import labels, read_log
from tests.services import thorough
from tests.serving.conftest import App, ModelHome, reading
from tests.serving.test_process import client, server

Sent = dict[str, list[dict[str, Any]]]


def batch(name: str, size: int) -> Sent:
    return {"requests": [reading(id=f"{name}-{n}", pump=f"{n}") for n in range(size)]}


def outcomes(sent: Sent) -> Sent:
    return {"outcomes": [{"id": one["id"], "label": n % 2} for n, one in enumerate(sent["requests"])]}


def ids(sent: Sent) -> list[str]:
    return [one["id"] for one in sent["requests"]]


def logged(context: Context) -> list[str]:
    return sorted(row.prediction_id for row in read_log(context.predictions))


def require_refusal(answer: httpx.Response) -> None:
    """Check that an answer is a 503 that names the remedy and the time to retry."""
    assert answer.status_code == 503 and answer.headers["retry-after"] == "1", answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert "the records database (FLIGHTDECK_RECORDS_URI) is unavailable" in answer.json()["detail"]
    assert "see that it is up and has room" in answer.json()["detail"]


@contextmanager
def full(context: Context) -> Iterator[None]:
    """A context manager in which the records' database cannot grow by a page."""

    def limit(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("pragma max_page_count = 1")  # SQLite keeps at least the present number of pages

    for engine in context.records.engines:
        sa.event.listen(engine, "connect", limit)
        engine.dispose()
    yield
    for engine in context.records.engines:
        sa.event.remove(engine, "connect", limit)
        engine.dispose()


def test_a_batch_is_refused_whole_on_a_full_disk_and_accepted_once_there_is_room(app: App) -> None:
    before, sent = batch("before", 5), batch("sent", 300)
    assert app.http.post("/v1/predictions", json=before).status_code == 200
    with full(app.context):
        for _ in range(2):
            require_refusal(app.http.post("/v1/predictions", json=sent))
        assert logged(app.context) == ids(before), "nothing is half written"
        assert app.http.get("/v1/predictions/before-0").status_code == 200, "logged rows can be read"
        assert app.http.get("/v1/predictions/sent-0").status_code == 404
    first, again = (app.http.post("/v1/predictions", json=sent) for _ in range(2))
    assert first.status_code == 200 and first.json() == again.json()
    assert [item["id"] for item in first.json()["predictions"]] == ids(sent)
    assert logged(app.context) == sorted(ids(before) + ids(sent))
    assert app.metric("predictions_total", version="1") + app.metric("predictions_total", version="2") == 305


def test_calls_that_fill_the_disk_are_either_acknowledged_and_logged_or_neither(app: App) -> None:
    acknowledged, refused = [], []
    with full(app.context):
        for n in range(2000):
            answer = app.http.post("/v1/predictions", json=reading(id=f"{n:04}"))
            if answer.status_code != 200:
                require_refusal(answer)
                refused.append(f"{n:04}")
                break
            acknowledged.append(f"{n:04}")
        assert refused and logged(app.context) == acknowledged
    for identity in acknowledged + refused:
        assert app.ask(reading(id=identity))[0]["id"] == identity
    assert logged(app.context) == acknowledged + refused


def test_outcomes_of_a_call_are_refused_whole_on_a_full_disk_and_recorded_once_there_is_room(app: App) -> None:
    sent = batch("a", 300)
    app.ask(*sent["requests"])
    with full(app.context):
        require_refusal(app.http.post("/v1/outcomes", json=outcomes(sent)))
        assert labels(app.log) == {}
    answer = app.http.post("/v1/outcomes", json=outcomes(sent))
    assert answer.status_code == 200 and {one["status"] for one in answer.json()["outcomes"]} == {"recorded"}
    now = app.clock.now()
    assert labels(app.log) == {identity: (float(n % 2), now) for n, identity in enumerate(ids(sent))}


@thorough
@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits another process's files by Linux's prlimit")
def test_a_write_cut_within_a_page_leaves_nothing_of_its_commit(model_home: ModelHome, context: Context) -> None:
    before, sent = batch("before", 5), batch("sent", 800)
    with server(model_home.home) as (process, url), client(url) as http:
        assert http.post("/v1/predictions", json=before).status_code == 200
        pid = process.process.pid
        assert pid is not None
        was = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (100_001, was[1]))  # smaller than the batch, wherever it begins
        try:
            for _ in range(2):
                require_refusal(http.post("/v1/predictions", json=sent))
            assert http.get("/v1/predictions/before-0").status_code == 200
        finally:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, was)
        assert logged(context) == ids(before)
        first, again = (http.post("/v1/predictions", json=sent) for _ in range(2))
        assert first.status_code == 200 and first.json() == again.json()
        assert logged(context) == sorted(ids(before) + ids(sent))
    with context.records.engine.connect() as connection:
        assert connection.exec_driver_sql("pragma integrity_check").scalar() == "ok"
