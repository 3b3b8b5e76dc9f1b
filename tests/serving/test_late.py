"""An answer does not wait for a slow challenger, nor for an online store that hangs or fails."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from benchmarks.redis_server import running_redis
from pipelines.online.sqlite import SqliteRows
from pipelines.records import Lack
from pipelines.serving import beside, features, predict, scoring
from pipelines.serving.beside import Beside
from pipelines.traffic import serves_challenger
from tests.services import missing, thorough
from tests.serving.conftest import App, reading

Serve = Callable[..., App]


@contextmanager
def asking(challenger: threading.Event, calls: int) -> Iterator[ThreadPoolExecutor]:
    """Threads for so many calls, none of which waits for the challenger once the test is over, or has failed."""
    with ThreadPoolExecutor(calls) as threads:
        try:
            yield threads
        finally:
            challenger.set()


@pytest.fixture
def challenger(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """An event without which version 2 does not finish scoring."""
    released = threading.Event()
    score = scoring.score

    def waiting(version: str, *rest: Any) -> Any:
        assert version != "2" or released.wait(60)
        return score(version, *rest)

    monkeypatch.setattr(predict, "score", waiting)
    yield released
    released.set()


def test_a_hanging_challenger_in_shadow_delays_no_answer_and_leaves_no_score_in_the_log(
    serve: Serve, challenger: threading.Event
) -> None:
    app = serve(shadow_wait_ms=1)
    app.plan(share=0.0, stage="shadow")
    answers = [*app.ask(reading(), reading(pump="2")), *app.ask(reading())]
    for row in app.log.get([answer["id"] for answer in answers]):
        assert (row.served, set(row.scores), row.errors) == ("1", {"1"}, {})
        assert row.features["heat_3d"] is not None
    assert app.metric("version_late_total", version="2") == 3
    challenger.set()
    for _ in range(1000):  # until the thread has finished its first run
        (answer,) = app.ask(reading())
        (row,) = app.log.get([answer["id"]])
        if set(row.scores) == {"1", "2"}:
            return
    raise AssertionError("it is left out for ever")


def test_the_champion_answers_where_an_assigned_challenger_hangs(serve: Serve, challenger: threading.Event) -> None:
    app = serve(shadow_wait_ms=1, challenger_wait_ms=20)
    app.plan(share=1.0, stage="100")
    for _ in range(2):
        (answer,) = app.ask(reading())
        (row,) = app.log.get([answer["id"]])
        assert (row.served, row.scores["2"], row.errors) == ("1", None, {"2": "no score within 20 ms"})


def test_a_slow_challenger_keeps_those_waiting_that_it_is_to_answer_and_nobody_else(
    serve: Serve, challenger: threading.Event
) -> None:
    app = serve(shadow_wait_ms=1, challenger_wait_ms=60_000)
    plan = app.plan(share=0.5)
    alone = [[reading(id=f"{n}", pump=f"{n}")] for n in range(30)]
    calls = [*alone, [reading(id="a", pump="0"), reading(id="b", pump="1"), reading(id="c", pump="2")]]
    is_ours = [any(serves_challenger(plan.rollout, one["pump"], 0.5) for one in call) for call in calls]
    assert is_ours[-1] and 5 < is_ours.count(False) < 25
    with asking(challenger, len(calls)) as threads:
        asked = [threads.submit(app.ask, *call) for call in calls]
        quick = [one.result(30) for one, ours in zip(asked, is_ours, strict=True) if not ours]
        assert {one["version"] for answers in quick for one in answers} == {"1"}
        rows = app.log.all()
        assert sorted(row.prediction_id for row in rows) == sorted(answers[0]["id"] for answers in quick)
        assert all((row.served, set(row.scores), row.errors) == ("1", {"1"}, {}) for row in rows)
        assert not any(one.done() for one, ours in zip(asked, is_ours, strict=True) if ours)
        assert app.metric("version_late_total", version="2") == len(quick)
        challenger.set()
        slow = [one.result(30) for one, ours in zip(asked, is_ours, strict=True) if ours]
    for answers, call in zip(slow, [call for call, ours in zip(calls, is_ours, strict=True) if ours], strict=True):
        assert [one["id"] for one in answers] == [one["id"] for one in call]
        for answer, row in zip(answers, [app.log.get([one["id"]])[0] for one in call], strict=True):
            assert row.served == answer["version"] == "12"[serves_challenger(plan.rollout, row.entity, 0.5)]
            assert set(row.scores) == {"1", "2"} and not row.errors and row.score == answer["score"]
    assert len(app.log.all()) == 33 and app.metric("version_late_total", version="2") == len(quick)


def test_a_request_on_which_the_champion_fails_waits_for_a_slow_challenger(
    serve: Serve, challenger: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = vars(predict)["score"]  # of the fixture

    def failing(version: str, loaded: Any, layout: Any, features: Any) -> Any:
        if version == "1":
            return scoring.VersionScores.none(features.rows, "broken")
        return waiting(version, loaded, layout, features)

    monkeypatch.setattr(predict, "score", failing)
    app = serve(shadow_wait_ms=1, challenger_wait_ms=60_000)
    app.plan(share=0.0, stage="shadow")
    later = app.http.app.state.server.gatherer.later  # type: ignore[attr-defined]
    taken, take = threading.Event(), later.take

    def note(call: Any) -> None:
        take(call)
        taken.set()

    monkeypatch.setattr(later, "take", note)
    with asking(challenger, 1) as threads:
        asked = threads.submit(app.ask, reading(id="a"))
        assert taken.wait(30) and not asked.done()
        challenger.set()
        assert asked.result(30)[0]["version"] == "2"
    (row,) = app.log.get(["a"])
    assert (row.served, row.errors) == ("2", {"1": "broken"})
    assert app.metric("version_errors_total", version="1") == 1, "it counts once"


def test_one_that_took_long_before_is_not_waited_for_as_one_that_pauses(
    serve: Serve, challenger: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = serve(shadow_wait_ms=60_000)
    app.plan(share=0.0, stage="shadow")
    challenger.set()
    monkeypatch.setattr(beside, "QUICK", 0.0)  # whatever it takes, it takes long
    monkeypatch.setattr(beside, "PAUSES", 2)
    for _ in range(beside.PAUSES + 1):
        (waited,) = app.ask(reading())
        assert set(app.log.get([waited["id"]])[0].scores) == {"1", "2"}, "a few long runs may be a pause"
    challenger.clear()
    with asking(challenger, 1) as threads:
        (last,) = threads.submit(app.ask, reading()).result(30)
    assert set(app.log.get([last["id"]])[0].scores) == {"1"}


def test_one_that_is_not_loaded_is_no_late_one(serve: Serve) -> None:
    app = serve()
    app.plan(challenger_uri="models/none", challenger_sha256="0" * 64)
    app.ask(reading())
    assert app.metric("version_errors_total", version="2") == 1
    assert app.metric("version_late_total", version="2") == 0


def test_a_challenger_that_scores_in_time_is_logged_whichever_version_answers(serve: Serve) -> None:
    app = serve()
    app.plan(share=0.0, stage="shadow")
    answers = [app.ask(reading())[0] for _ in range(20)]
    rows = app.log.get([answer["id"] for answer in answers])
    assert {row.served for row in rows} == {"1"} and {*map(len, (row.scores for row in rows))} == {2}


def test_work_beside_is_refused_while_an_earlier_one_runs_and_its_errors_are_its_own() -> None:
    one, goes_on = Beside("test"), threading.Event()
    assert not one.is_slow
    first = one.begin(lambda: goes_on.wait(60), 0)
    assert first is not None and one.is_slow
    assert one.begin(lambda: 1, 0) is None and one.begin(lambda: 1, 0.01) is None
    threading.Timer(0.05, goes_on.set).start()
    second = one.begin(lambda: 2, 60)
    assert first.result(60) and second is not None and second.result(60) == 2
    failing = one.begin(lambda: 1 / 0, 60)
    assert failing is not None
    with pytest.raises(ZeroDivisionError):
        failing.result(60)
    after = one.begin(lambda: 3, 60)
    assert after is not None and after.result(60) == 3


def test_only_work_that_took_long_three_times_in_a_row_is_waited_for_less(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, waits = Beside("test"), []
    for quick in (60.0, 0.0, 0.0, 60.0, 0.0, 0.0, 0.0, 0.0, 60.0):
        monkeypatch.setattr(beside, "QUICK", quick)
        work = one.begin(lambda: None, 60)
        assert work is not None and work.result(60) is None
        monkeypatch.setattr(beside, "QUICK", 0.005)
        waits.append(one.patience(rows=100, most=1.0))
    assert waits == [1.0] * 6 + [pytest.approx(0.01)] * 2 + [1.0]
    assert one.patience(rows=10**9, most=1.0) == 1.0


def test_a_challenger_is_not_blamed_for_a_hanging_predecessor(serve: Serve, challenger: threading.Event) -> None:
    app = serve(shadow_wait_ms=1, challenger_wait_ms=20)
    app.plan(share=1.0, stage="100")
    assert app.log.get([app.ask(reading())[0]["id"]])[0].errors
    app.plan(challenger="3", challenger_uri=app.model_home.models["1"], rollout="next")
    (row,) = app.log.get([app.ask(reading())[0]["id"]])
    assert (row.served, row.errors) == ("3", {})


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """A list; while it is not empty, the online store fails."""
    is_broken: list[bool] = []
    changed = SqliteRows.changed

    def failing(rows: SqliteRows, mark: object) -> Any:
        if is_broken:
            raise sqlite3.OperationalError("disk I/O error")
        return changed(rows, mark)

    monkeypatch.setattr(SqliteRows, "changed", failing)
    monkeypatch.setattr(features, "AGAIN_AFTER", 0.0)
    return is_broken


def test_calls_are_refused_and_not_logged_while_the_online_store_fails(serve: Serve, broken: list[bool]) -> None:
    app = serve()
    app.plan()
    app.ask(reading())
    broken.append(True)
    refused = app.http.post("/v1/predictions", json=reading(id="a"))
    assert refused.status_code == 503 and refused.headers["retry-after"] == "1"
    assert refused.json()["detail"] == "the online store is unavailable (disk I/O error)"
    assert app.log.get(["a"]) == []
    broken.clear()
    assert app.ask(reading(id="a"))[0]["lacks"] is None


def test_params_may_have_calls_answered_on_missing_values_and_marked_while_the_store_fails(
    serve: Serve, broken: list[bool]
) -> None:
    app = serve(when_store_fails="missing")
    app.plan()
    before = app.ask(reading(id="before"))[0]
    broken.append(True)
    answer = app.ask(reading(id="a"))[0]
    (row,) = app.log.get(["a"])
    assert answer["lacks"] == "store" and row.lacks is Lack.STORE and not row.errors
    assert row.features["heat_3d"] is None and row.ages["heat_3d"] is None and row.features["load"] == 0.5
    assert answer["score"] != before["score"] and set(row.scores) == {"1", "2"}
    broken.clear()
    assert app.ask(reading(id="b"))[0]["score"] == before["score"]
    assert app.http.get("/v1/predictions/a").json() == answer, "the first answer is kept"


def test_a_store_that_has_just_failed_is_not_asked_for_a_while(
    serve: Serve, broken: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "AGAIN_AFTER", 3600.0)
    app = serve()
    app.plan()
    broken.append(True)
    assert app.http.post("/v1/predictions", json=reading()).status_code == 503
    broken.clear()
    assert app.http.post("/v1/predictions", json=reading()).status_code == 503
    monkeypatch.setattr(features, "AGAIN_AFTER", 0.0)
    app.ask(reading())


@pytest.mark.parametrize("choice", ["missing", "refuse"])
def test_stale_values_are_left_out_and_marked_or_the_call_is_refused(serve: Serve, choice: str) -> None:
    app = serve(when_stale=choice)
    app.plan()
    assert app.ask(reading())[0]["lacks"] is None
    app.clock.advance(app.model_home.at + timedelta(days=2))
    answer = app.http.post("/v1/predictions", json={"requests": [reading(id="a"), reading(id="b", pump="9999")]})
    if choice == "refuse":
        assert answer.status_code == 503 and "request 0: stored features are stale" in answer.json()["detail"]
        assert app.log.get(["a", "b"]) == []
        assert app.ask(reading(pump="9999"))[0]["lacks"] is None, "an unknown entity has no stale values"
    else:
        assert [one["lacks"] for one in answer.json()["predictions"]] == ["stale", None]
        assert app.log.get(["a"])[0].lacks is Lack.STALE


@thorough
def test_a_hanging_redis_delays_calls_no_longer_than_the_params_allow(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shutil.which("redis-server"):
        missing("redis-server", "redis-server")
    monkeypatch.setattr(features, "AGAIN_AFTER", 0.0)
    with running_redis(tmp_path) as port:
        monkeypatch.setenv("FLIGHTDECK_FEAST_ONLINE", f"redis://127.0.0.1:{port}")
        app = serve(own_home=True, when_store_fails="missing", store_wait_ms=50)
        app.plan()
        assert app.ask(reading())[0]["lacks"] is None
        pid = redis_pid(port)
        os.kill(pid, signal.SIGSTOP)
        try:
            assert app.ask(reading())[0]["lacks"] == "store"
        finally:
            os.kill(pid, signal.SIGCONT)
        assert app.ask(reading())[0]["lacks"] is None


def redis_pid(port: int) -> int:
    from redis import Redis

    with Redis(port=port) as client:
        return int(client.info("server")["process_id"])
