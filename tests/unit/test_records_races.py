"""Of several concurrent writers one wins, the others learn what it wrote, and none waits forever.

SQLite allows one writer at a time and so hides most races: these tests matter on PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier
from typing import Any, TypeVar

import pytest

from pipelines.records import Action, Arrival, Baseline, Batch, Ending, Records, Rollout
from tests.unit.test_log_inputs import batch
from tests.unit.test_records import NOW, plan, prediction

WRITERS, ROUNDS = 4, 12
T = TypeVar("T")
Race = Callable[[Callable[[Records, int], T]], list[T]]


@pytest.fixture
def records(records_uri: str) -> Records:
    return Records(records_uri)


@pytest.fixture
def race(records_uri: str) -> Iterator[Race[T]]:
    """Runs a function for every writer, each with records of its own, at the same moment; gives their answers."""
    every, together = [Records(records_uri) for _ in range(WRITERS)], Barrier(WRITERS)

    def run(write: Callable[[Records, int], T]) -> list[T]:
        def begin(writer: int) -> T:
            together.wait(timeout=60)
            return write(every[writer], writer)

        return list(pool.map(begin, range(WRITERS)))

    with ThreadPoolExecutor(WRITERS) as pool:
        yield run


def test_one_of_many_writers_of_the_next_plan_wins(records: Records, race: Race[bool]) -> None:
    for version in range(1, ROUNDS + 1):
        won = race(lambda own, n, v=version: own.plans("pumps").replace(plan(v, rollout=f"by {n}")))  # type: ignore[misc]
        assert won.count(True) == 1
        current = records.plans("pumps").current()
        assert current is not None and (current.version, current.rollout) == (version, f"by {won.index(True)}")


def test_one_of_many_observers_records_a_change_of_an_alias(records: Records, race: Race[int | None]) -> None:
    for change in range(1, ROUNDS + 1):
        noted = race(lambda own, n, c=change: own.aliases("pumps").note("challenger", str(c), f"{n}", NOW))  # type: ignore[misc]
        assert sorted(noted, key=str) == [change, *[None] * (WRITERS - 1)]
    assert len(records.ledger("pumps").entries(aliases=True)) == ROUNDS


def test_one_of_many_rollouts_claims_a_change_and_one_of_its_endings_stands(records: Records, race: Race[bool]) -> None:
    for change in range(1, ROUNDS + 1):
        records.aliases("pumps").note("challenger", f"{change}", "training", NOW)

        def rollout(n: int, change: int = change) -> Rollout:
            return Rollout(
                f"{change} by {n}", f"{change}", None, change, NOW, Baseline("models/1", "a", "evaluations/1")
            )

        begun = race(lambda own, n, one=rollout: own.rollouts("pumps").begin(one(n), "test"))  # type: ignore[misc]
        assert begun.count(True) == 1
        (under_way,) = [one for one in records.rollouts("pumps").all() if one.ending is None]
        assert under_way == rollout(begun.index(True))
        claims = race(lambda own, n, c=change: own.aliases("pumps").claim("challenger", c, f"{c} by {n}"))  # type: ignore[misc]
        assert claims == begun

        def end(own: Records, n: int, one: Rollout = under_way) -> bool:
            return own.rollouts("pumps").end(one, Ending(Action.INCONCLUSIVE, NOW, f"{n}", "because"))

        ended = race(end)
        assert ended.count(True) == 1
        stands = records.rollouts("pumps").require(under_way.name).ending
        assert stands is not None and stands.actor == str(ended.index(True))
    actions = [entry.action for entry in records.ledger("pumps").entries()]
    assert actions == [Action.START, Action.INCONCLUSIVE] * ROUNDS


def test_the_first_of_many_answers_to_a_request_stands(race: Race[list[float | None]]) -> None:
    for number in range(ROUNDS):

        def append(own: Records, n: int, number: int = number) -> list[float | None]:
            ids = [f"{number} {k}" for k in range(20)]
            ordered = ids if n % 2 else ids[::-1]  # a deadlock, if both write in the given order
            kept = own.predictions("pumps").append([prediction(identity, score=float(n)) for identity in ordered])
            return [one.score for one in sorted(kept, key=lambda one: one.prediction_id)]

        first, *others = race(append)
        assert others == [first] * (WRITERS - 1) and len(set(first)) == 1


def test_of_batches_with_the_same_ids_the_first_stands_for_all(records: Records, race: Race[list[Any]]) -> None:
    for number in range(ROUNDS):

        def append(own: Records, n: int, number: int = number) -> list[Any]:
            ids = [f"{number} {k}" for k in range(20)]
            made = batch_of(ids if n % 2 else ids[::-1], score=float(n), plan=n + 1, served=f"{n}")
            logged = own.predictions("pumps").append_batch(made)
            if logged is None:  # all of its own
                return [(identity, float(n), n + 1, f"{n}") for identity in ids]
            assert [one.prediction_id for one in logged] == made.ids
            return sorted(((one.prediction_id, one.score, one.plan, one.served) for one in logged), key=order)

        first, *others = race(append)
        first = sorted(first, key=order)
        assert all(sorted(other, key=order) == first for other in others) and len({one[1:] for one in first}) == 1
        rows = {row.prediction_id: row for row in records.predictions("pumps").all()}
        assert len(rows) == len(records.predictions("pumps").all()) == 20 * (number + 1)
        assert [(one, rows[one].score, rows[one].plan, rows[one].served) for one, *_ in first] == first


def order(told: Any) -> str:
    return str(told[0])


def batch_of(ids: list[str], score: float, plan: int, served: str) -> Batch:
    count = len(ids)
    return batch(
        ids=ids,
        entities=["pump 1"] * count,
        blocks=["2024-03-01"] * count,
        closes_at=[1_709_334_000_000_000] * count,
        requests=["{}"] * count,
        layout=None,
        inputs=[None] * count,
        plan=plan,
        served=[served] * count,
        score=[score] * count,
        scores={served: [score] * count},
        errors={},
        decisions=[True] * count,
        lacks=[None] * count,
    )


def test_of_outcomes_of_one_prediction_one_is_recorded(records: Records, race: Race[list[Arrival]]) -> None:
    ids = [f"{k}" for k in range(20)]
    for day in range(ROUNDS):
        predictions = [replace(prediction(f"{day} {k}"), predicted_at=NOW + timedelta(days=day)) for k in ids]
        records.predictions("pumps").append(predictions)

        def record(own: Records, n: int, day: int = day) -> list[Arrival]:
            sent = [(f"{day} {k}", 1.0, NOW) for k in (ids if n % 2 else ids[::-1])]
            arrivals = own.predictions("pumps").record_outcomes(sent)
            return arrivals if n % 2 else arrivals[::-1]

        for arrivals in zip(*race(record), strict=True):
            assert sorted(arrivals) == [Arrival.RECORDED, *[Arrival.REPEATED] * (WRITERS - 1)]


def test_concurrent_advances_never_move_the_clock_back(records: Records, race: Race[bool]) -> None:
    time = records.simulated_time("pumps")
    time.set(NOW)
    for number in range(1, ROUNDS + 1):
        hours = [number * WRITERS + n for n in range(WRITERS)]
        race(lambda own, n, h=hours: own.simulated_time("pumps").advance(NOW + timedelta(hours=h[n])))  # type: ignore[misc]
        assert time.read() == NOW + timedelta(hours=hours[-1])
