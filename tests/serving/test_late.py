"""What an answer does not wait for: a challenger that is slow, and an online store that hangs or fails."""

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
from tests.serving.conftest import Deck, reading

Serve = Callable[..., Deck]


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
    """Version 2 scores nothing until this is set."""
    released = threading.Event()
    score = scoring.score

    def waiting(version: str, *rest: Any) -> Any:
        assert version != "2" or released.wait(60)
        return score(version, *rest)

    monkeypatch.setattr(predict, "score", waiting)
    yield released
    released.set()


def test_a_challenger_in_shadow_that_hangs_keeps_no_answer_back_and_is_left_out_of_the_log(
    serve: Serve, challenger: threading.Event
) -> None:
    deck = serve(shadow_wait_ms=1)
    deck.plan(share=0.0, stage="shadow")
    answers = [*deck.ask(reading(), reading(pump="2")), *deck.ask(reading())]
    for row in deck.log.get([answer["id"] for answer in answers]):
        assert (row.served, set(row.scores), row.errors) == ("1", {"1"}, {})
        assert row.features["heat_3d"] is not None
    assert deck.metric("version_late_total", version="2") == 3
    challenger.set()
    for _ in range(1000):  # until the thread has finished what it began with
        (answer,) = deck.ask(reading())
        (row,) = deck.log.get([answer["id"]])
        if set(row.scores) == {"1", "2"}:
            return
    raise AssertionError("it is left out for ever")


def test_a_challenger_that_is_to_answer_and_hangs_has_failed_and_the_champion_answers(
    serve: Serve, challenger: threading.Event
) -> None:
    deck = serve(shadow_wait_ms=1, challenger_wait_ms=20)
    deck.plan(share=1.0, stage="100")
    for _ in range(2):
        (answer,) = deck.ask(reading())
        (row,) = deck.log.get([answer["id"]])
        assert (row.served, row.scores["2"], row.errors) == ("1", None, {"2": "no score within 20 ms"})


def test_a_slow_challenger_keeps_those_waiting_that_it_is_to_answer_and_nobody_else(
    serve: Serve, challenger: threading.Event
) -> None:
    deck = serve(shadow_wait_ms=1, challenger_wait_ms=60_000)
    plan = deck.plan(share=0.5)
    alone = [[reading(id=f"{n}", pump=f"{n}")] for n in range(30)]
    calls = [*alone, [reading(id="a", pump="0"), reading(id="b", pump="1"), reading(id="c", pump="2")]]
    is_ours = [any(serves_challenger(plan.rollout, one["pump"], 0.5) for one in call) for call in calls]
    assert is_ours[-1] and 5 < is_ours.count(False) < 25
    with asking(challenger, len(calls)) as threads:
        asked = [threads.submit(deck.ask, *call) for call in calls]
        quick = [one.result(30) for one, ours in zip(asked, is_ours, strict=True) if not ours]
        assert {one["version"] for answers in quick for one in answers} == {"1"}
        rows = deck.log.all()
        assert sorted(row.prediction_id for row in rows) == sorted(answers[0]["id"] for answers in quick)
        assert all((row.served, set(row.scores), row.errors) == ("1", {"1"}, {}) for row in rows)
        assert not any(one.done() for one, ours in zip(asked, is_ours, strict=True) if ours)
        assert deck.metric("version_late_total", version="2") == len(quick)
        challenger.set()
        slow = [one.result(30) for one, ours in zip(asked, is_ours, strict=True) if ours]
    for answers, call in zip(slow, [call for call, ours in zip(calls, is_ours, strict=True) if ours], strict=True):
        assert [one["id"] for one in answers] == [one["id"] for one in call]
        for answer, row in zip(answers, [deck.log.get([one["id"]])[0] for one in call], strict=True):
            assert row.served == answer["version"] == "12"[serves_challenger(plan.rollout, row.entity, 0.5)]
            assert set(row.scores) == {"1", "2"} and not row.errors and row.score == answer["score"]
    assert len(deck.log.all()) == 33 and deck.metric("version_late_total", version="2") == len(quick)


def test_a_request_on_which_the_champion_fails_waits_for_a_slow_challenger(
    serve: Serve, challenger: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = predict.score  # type: ignore[attr-defined]

    def failing(version: str, loaded: Any, layout: Any, features: Any) -> Any:
        if version == "1":
            return scoring.VersionScores.none(features.rows, "broken")
        return waiting(version, loaded, layout, features)

    monkeypatch.setattr(predict, "score", failing)
    deck = serve(shadow_wait_ms=1, challenger_wait_ms=60_000)
    deck.plan(share=0.0, stage="shadow")
    later = deck.http.app.state.server.gatherer.later  # type: ignore[attr-defined]
    taken, take = threading.Event(), later.take

    def noting(call: Any) -> None:
        take(call)
        taken.set()

    monkeypatch.setattr(later, "take", noting)
    with asking(challenger, 1) as threads:
        asked = threads.submit(deck.ask, reading(id="a"))
        assert taken.wait(30) and not asked.done()
        challenger.set()
        assert asked.result(30)[0]["version"] == "2"
    (row,) = deck.log.get(["a"])
    assert (row.served, row.errors) == ("2", {"1": "broken"})
    assert deck.metric("version_errors_total", version="1") == 1, "it counts once"


def test_one_that_took_long_before_is_not_waited_for_as_one_that_pauses(
    serve: Serve, challenger: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    deck = serve(shadow_wait_ms=60_000)
    deck.plan(share=0.0, stage="shadow")
    challenger.set()
    monkeypatch.setattr(beside, "QUICK", 0.0)  # whatever it takes, it takes long
    monkeypatch.setattr(beside, "PAUSES", 2)
    for _ in range(beside.PAUSES + 1):
        (waited,) = deck.ask(reading())
        assert set(deck.log.get([waited["id"]])[0].scores) == {"1", "2"}, "which may be a pause"
    challenger.clear()
    with asking(challenger, 1) as threads:
        (later,) = threads.submit(deck.ask, reading()).result(30)
    assert set(deck.log.get([later["id"]])[0].scores) == {"1"}


def test_one_that_is_not_loaded_is_no_late_one(serve: Serve) -> None:
    deck = serve()
    deck.plan(challenger_uri="models/none", challenger_sha256="0" * 64)
    deck.ask(reading())
    assert deck.metric("version_errors_total", version="2") == 1
    assert deck.metric("version_late_total", version="2") == 0


def test_one_that_scores_in_time_is_in_the_log_whichever_answers(serve: Serve) -> None:
    deck = serve()
    deck.plan(share=0.0, stage="shadow")
    answers = [deck.ask(reading())[0] for _ in range(20)]
    rows = deck.log.get([answer["id"] for answer in answers])
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


def test_what_takes_long_once_or_twice_is_waited_for_and_what_has_become_quick_again(
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


def test_a_challenger_does_not_bear_what_an_earlier_one_did(serve: Serve, challenger: threading.Event) -> None:
    deck = serve(shadow_wait_ms=1, challenger_wait_ms=20)
    deck.plan(share=1.0, stage="100")
    assert deck.log.get([deck.ask(reading())[0]["id"]])[0].errors
    deck.plan(challenger="3", challenger_uri=deck.made.models["1"], rollout="next")
    (row,) = deck.log.get([deck.ask(reading())[0]["id"]])
    assert (row.served, row.errors) == ("3", {})


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """The online store fails for as long as this is not empty."""
    is_broken: list[bool] = []
    changed = SqliteRows.changed

    def failing(rows: SqliteRows, mark: object) -> Any:
        if is_broken:
            raise sqlite3.OperationalError("disk I/O error")
        return changed(rows, mark)

    monkeypatch.setattr(SqliteRows, "changed", failing)
    monkeypatch.setattr(features, "AGAIN_AFTER", 0.0)
    return is_broken


def test_without_the_online_store_calls_are_refused_and_nothing_is_logged(serve: Serve, broken: list[bool]) -> None:
    deck = serve()
    deck.plan()
    deck.ask(reading())
    broken.append(True)
    refused = deck.http.post("/v1/predictions", json=reading(id="a"))
    assert refused.status_code == 503 and refused.headers["retry-after"] == "1"
    assert refused.json()["detail"] == "the online store is unavailable (disk I/O error)"
    assert deck.log.get(["a"]) == []
    broken.clear()
    assert deck.ask(reading(id="a"))[0]["lacks"] is None


def test_or_answered_on_missing_values_and_marked_where_params_say_so(serve: Serve, broken: list[bool]) -> None:
    deck = serve(when_store_fails="missing")
    deck.plan()
    before = deck.ask(reading(id="before"))[0]
    broken.append(True)
    answer = deck.ask(reading(id="a"))[0]
    (row,) = deck.log.get(["a"])
    assert answer["lacks"] == "store" and row.lacks is Lack.STORE and not row.errors
    assert row.features["heat_3d"] is None and row.ages["heat_3d"] is None and row.features["load"] == 0.5
    assert answer["score"] != before["score"] and set(row.scores) == {"1", "2"}
    broken.clear()
    assert deck.ask(reading(id="b"))[0]["score"] == before["score"]
    assert deck.http.get("/v1/predictions/a").json() == answer, "the answer that it got stays"


def test_a_store_that_has_just_failed_is_left_alone(
    serve: Serve, broken: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "AGAIN_AFTER", 3600.0)
    deck = serve()
    deck.plan()
    broken.append(True)
    assert deck.http.post("/v1/predictions", json=reading()).status_code == 503
    broken.clear()
    assert deck.http.post("/v1/predictions", json=reading()).status_code == 503
    monkeypatch.setattr(features, "AGAIN_AFTER", 0.0)
    deck.ask(reading())


@pytest.mark.parametrize("choice", ["missing", "refuse"])
def test_stale_values_are_left_out_and_marked_or_the_call_is_refused(serve: Serve, choice: str) -> None:
    deck = serve(when_stale=choice)
    deck.plan()
    assert deck.ask(reading())[0]["lacks"] is None
    deck.clock.advance(deck.made.at + timedelta(days=2))
    answer = deck.http.post("/v1/predictions", json={"requests": [reading(id="a"), reading(id="b", pump="9999")]})
    if choice == "refuse":
        assert answer.status_code == 503 and "request 0: stored features are stale" in answer.json()["detail"]
        assert deck.log.get(["a", "b"]) == []
        assert deck.ask(reading(pump="9999"))[0]["lacks"] is None, "of one that nothing is known of nothing is stale"
    else:
        assert [one["lacks"] for one in answer.json()["predictions"]] == ["stale", None]
        assert deck.log.get(["a"])[0].lacks is Lack.STALE


@thorough
def test_a_redis_that_hangs_keeps_calls_no_longer_than_params_say(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shutil.which("redis-server"):
        missing("redis-server", "redis-server")
    monkeypatch.setattr(features, "AGAIN_AFTER", 0.0)
    with running_redis(tmp_path) as port:
        monkeypatch.setenv("FLIGHTDECK_FEAST_ONLINE", f"redis://127.0.0.1:{port}")
        deck = serve(own_home=True, when_store_fails="missing", store_wait_ms=50)
        deck.plan()
        assert deck.ask(reading())[0]["lacks"] is None
        pid = redis_pid(port)
        os.kill(pid, signal.SIGSTOP)
        try:
            assert deck.ask(reading())[0]["lacks"] == "store"
        finally:
            os.kill(pid, signal.SIGCONT)
        assert deck.ask(reading())[0]["lacks"] is None


def redis_pid(port: int) -> int:
    from redis import Redis

    with Redis(port=port) as client:
        return int(client.info("server")["process_id"])
