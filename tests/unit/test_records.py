"""Records: nothing is lost or overwritten, and one of many racing writers wins."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipelines.records import BY_HAND, Action, Arrival, Entry, Plan, Prediction, Records, Snapshot
from tests.predictions import labels
from tests.services import thorough

NOW = datetime(2024, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def records(records_uri: str) -> Records:
    return Records(records_uri)


def prediction(identity: str, **changes: Any) -> Prediction:
    row = Prediction(
        prediction_id=identity,
        entity="pump 1",
        block="2024-03-01",
        closes_at=NOW + timedelta(hours=12),
        predicted_at=NOW,
        request={"pump": "1"},
        features={"heat": 1.5, "age": None},
        ages={"heat": 60.0, "age": None},
        plan=1,
        share=0.05,
        served="1",
        score=0.25,
        scores={"1": 0.25, "2": 0.5},
        milliseconds={"1": 0.4, "2": 0.6},
        errors={},
    )
    return replace(row, **changes)


def plan(version: int, **changes: Any) -> Plan:
    return replace(Plan(version, "r1", "5", "1", "models/1", "a1", "2", "models/2", "b2", 0.05, NOW), **changes)


def test_a_prediction_is_read_as_it_was_written(records: Records) -> None:
    log = records.predictions("pumps")
    scores = {"1": float("inf"), "2": None, "3": -float("inf")}
    written = [
        prediction("a", further={"worn": 0.25, "torn": None}),
        prediction("b", score=None, scores=scores, errors={"1": "no output"}),
    ]
    assert log.append(written) == written == log.get(["a", "b"])
    (kept,) = log.append([prediction("c", scores={"1": float("nan"), "2": 0.5})])
    assert repr(kept.scores) == "{'1': nan, '2': 0.5}"
    assert records.predictions("others").get(["a"]) == []


@pytest.mark.parametrize(("fsync", "synchronous"), [(False, 1), (True, 2)])
def test_commits_to_sqlite_wait_for_the_disk_where_configured(tmp_path: Path, fsync: bool, synchronous: int) -> None:
    records = Records(f"sqlite:///{tmp_path / 'records.db'}", fsync)
    records.quick_predictions("pumps")
    for engine in records.engines:
        with engine.connect() as connection:
            assert connection.exec_driver_sql("pragma synchronous").scalar_one() == synchronous


def test_progress_counts_closed_blocks_and_separately_single_request_blocks(
    records: Records,
) -> None:
    log, later = records.predictions("pumps"), NOW + timedelta(hours=1)
    log.append(
        [
            *(prediction(f"noon {n}", block="noon", closes_at=later) for n in range(3)),
            prediction("other", block="noon", closes_at=later + timedelta(minutes=1), errors={"1": "no output"}),
            prediction("late", block="morning", closes_at=NOW - timedelta(hours=1)),
            *(prediction(f"own {n}", block=f"own {n}", closes_at=NOW) for n in range(4)),
            prediction("of another plan", plan=2, block="another", closes_at=later),
        ]
    )
    end = NOW + timedelta(days=1)
    assert log.progress([1], end, NOW - timedelta(seconds=1)) == (9, 1, 1, 0)
    assert log.progress([1], end, NOW) == (9, 1, 1, 4)
    assert log.progress([1], end, later) == (9, 1, 2, 4)
    assert log.progress([1, 2], end, end) == (10, 1, 4, 4), "a block with two closing instants counts at each"
    assert log.progress([1], NOW, end) == (0, 0, 0, 0), "nothing at or after `now` counts"


def test_a_repeated_id_keeps_the_first_answer(records: Records) -> None:
    log = records.predictions("pumps")
    log.append([prediction("a")])
    assert log.append([prediction("a", score=0.9), prediction("b")]) == [prediction("a"), prediction("b")]


def test_an_outcome_is_recorded_once_and_never_changes(records: Records) -> None:
    log = records.predictions("pumps")
    log.append([prediction("a"), prediction("b")])
    sent = [("a", 1.0, NOW), ("none", 1.0, NOW), ("a", 1.0, NOW), ("a", 0.0, NOW), ("b", 0.0, NOW + timedelta(hours=1))]
    assert log.record_outcomes(sent) == [
        Arrival.RECORDED,
        Arrival.UNKNOWN,
        Arrival.REPEATED,
        Arrival.CONTRADICTS,
        Arrival.RECORDED,
    ]
    assert labels(log) == {"a": (1.0, NOW), "b": (0.0, NOW + timedelta(hours=1))}


def test_an_instant_without_a_zone_is_refused_and_nothing_written(records: Records) -> None:
    log = records.predictions("pumps")
    with pytest.raises(Exception, match="has no time zone"):
        log.append([prediction("a"), prediction("b", predicted_at=datetime(2024, 3, 1))])
    assert log.get(["a", "b"]) == []


def test_plans_are_numbered_consecutively(records: Records) -> None:
    plans = records.plans("pumps")
    assert plans.current() is None and not plans.replace(plan(2))
    assert plans.replace(plan(1)) and not plans.replace(plan(1, share=1.0))
    assert plans.replace(plan(2, stage="25", share=0.25))
    assert plans.current() == plan(2, stage="25", share=0.25) and plans.get(1) == plan(1)
    assert plans.of("r1") == [plan(1), plan(2, stage="25", share=0.25)]


def test_an_alias_that_returns_to_a_version_is_a_new_change(records: Records) -> None:
    aliases = records.aliases("pumps")
    assert aliases.note("challenger", "2", "training", NOW) == 1
    assert aliases.note("challenger", "2", "watcher", NOW) is None
    assert aliases.note("challenger", "1", "watcher", NOW) == 2
    assert aliases.note("challenger", "2", "watcher", NOW) == 3
    assert aliases.last("challenger") == (3, "2") and aliases.last("champion") is None


def test_a_change_is_claimed_by_one_rollout(records: Records) -> None:
    aliases = records.aliases("pumps")
    aliases.note("challenger", "2", "training", NOW)
    assert aliases.claim("challenger", 1, "a") and not aliases.claim("challenger", 1, "b")
    assert aliases.claim("challenger", 1, "a"), "a retry of the same rollout continues"
    assert not aliases.claim("challenger", 7, "a"), "an unknown change cannot be claimed"


def test_a_change_made_by_hand_is_reported_to_one_watcher_until_a_rollout_claims_it(
    records: Records, records_uri: str
) -> None:
    aliases = records.aliases("pumps")
    assert aliases.tell("challenger", BY_HAND) is None
    aliases.note("challenger", "1", "training", NOW)
    assert aliases.tell("challenger", BY_HAND) is None, "a change by the chain itself"
    aliases.note("challenger", "2", BY_HAND, NOW)
    with ThreadPoolExecutor(4) as pool:
        answers = list(
            pool.map(lambda own: own.tell("challenger", BY_HAND), [Records(records_uri).aliases("pumps")] * 4)
        )
    assert sorted(answers, key=str) == [(2, "2"), None, None, None]
    assert aliases.tell("challenger", BY_HAND, again=True) == (2, "2") and aliases.tell("champion", BY_HAND) is None
    aliases.claim("challenger", 2, "a")
    assert aliases.tell("challenger", BY_HAND, again=True) is None
    aliases.note("challenger", "", BY_HAND, NOW)
    assert aliases.tell("challenger", BY_HAND) is None, "a removal is not reported"


def test_the_ledger_only_grows(records: Records) -> None:
    ledger = records.ledger("pumps")
    entry = Entry("r1:promote", NOW, "deployment", Action.PROMOTE, "2", "1", 1.0, "every gate passed", {"blocks": 20})
    assert ledger.enter(entry) and not ledger.enter(replace(entry, reason="another"))
    assert ledger.enter(replace(entry, key="r2:promote", version="3"))
    assert [line.version for line in ledger.entries()] == ["2", "3"] and ledger.entries()[0] == entry


def race(uri: str, number: int, results: Any) -> None:
    aliases = Records(uri).aliases("pumps")
    noted = aliases.note("challenger", "2", f"racer {number}", NOW)
    claimed = aliases.claim("challenger", 1, f"rollout {number}")
    planned = Records(uri).plans("pumps").replace(plan(1, rollout=f"rollout {number}"))
    results.put((noted, claimed, planned))


@thorough
def test_one_of_many_racing_processes_wins(records: Records, records_uri: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    results = spawn.Queue()
    racers = [spawn.Process(target=race, args=(records_uri, number, results)) for number in range(4)]
    for racer in racers:
        racer.start()
    seen = [results.get(timeout=60) for _ in racers]
    for racer in racers:
        racer.join()
    assert min((noted or 0, claimed, planned) for noted, claimed, planned in seen) == (0, False, False)
    assert [sum(map(bool, column)) for column in zip(*seen, strict=True)] == [1, 1, 1]


def test_a_snapshot_is_listed_once_at_the_place_of_its_last_run(records: Records) -> None:
    log = records.snapshots("pumps")
    first = Snapshot("a.dir", 2, 120, date(2024, 3, 1), date(2024, 3, 2), "r1")
    for taken in (first, first, Snapshot("b.dir", 3, 180), replace(first, run="r2"), replace(first, run=None)):
        log.append(taken)
    assert [(one.version, one.run) for one in log.taken()] == [
        ("a.dir", "r1"),
        ("b.dir", None),
        ("a.dir", "r2"),
        ("a.dir", None),
    ]
    assert log.taken()[0] == first
    log.append(first)
    assert [one.run for one in log.taken()] == [None, "r2", None, "r1"]
    assert log.of_others() == set() and records.snapshots("boilers").taken() == []
    assert records.snapshots("boilers").of_others() == {"a.dir", "b.dir"}
