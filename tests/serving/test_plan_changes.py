"""A plan that changes while calls are under way: each answer is of one plan, and the log says the same."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from pipelines.records import Plan
from pipelines.serving.features import FeatureLayout, RequestFeatures
from pipelines.serving.predict import Predictor
from pipelines.traffic import serves_challenger
from tests.predictions import read_log
from tests.serving.conftest import Deck, Made, half_each, reading
from tests.serving.test_workers import wait_for

Answers = list[dict[str, Any]]
ALONE: dict[str, Any] = {"challenger": None, "challenger_uri": None, "challenger_sha256": None, "share": 0.0}


def next_plan(deck: Deck) -> Plan:
    """The champion of `half_each` has gone, and its challenger answers alone."""
    before = half_each(deck.made)
    assert before.challenger and before.challenger_uri
    return deck.plan(champion=before.challenger, champion_uri=before.challenger_uri, **ALONE)


def plans(made: Made) -> dict[int, Plan]:
    """By version, both plans that these tests put in force."""
    first = half_each(made)
    assert first.challenger
    return {1: first, 2: replace(first, version=2, champion=first.challenger, **ALONE)}


def require_agreement(deck: Deck, answers: Answers) -> None:
    """Check that each answer is in the log once, as it was given, and that all of it is of the plan that it names."""
    logged = {row.prediction_id: row for row in read_log(deck.log)}
    assert len(read_log(deck.log)) == len(logged) == len({answer["id"] for answer in answers}) == len(answers)
    for answer in answers:
        row, plan = logged[answer["id"]], plans(deck.made)[answer["plan"]]
        assert (row.plan, row.served, row.score, row.share) == (
            *(answer[k] for k in ("plan", "version", "score")),
            plan.share,
        )
        to_challenger = plan.challenger and serves_challenger(plan.rollout, row.entity, plan.share)
        assert row.served == (plan.challenger if to_challenger else plan.champion)
        assert row.served in row.scores and row.score == row.scores[row.served] and not row.errors
        assert set(row.scores) == {plan.champion, plan.challenger} - {None}


def pumps(numbers: Iterable[int], **changes: Any) -> list[dict[str, Any]]:
    return [reading(pump=f"{number}", **changes) for number in numbers]


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    """What is done once each, first to last, when a run has its route and reads its features."""
    steps: list[Callable[[], object]] = []
    read = FeatureLayout.read

    def reading_features(layout: FeatureLayout, *arguments: Any) -> RequestFeatures:
        if steps:
            steps.pop(0)()
        return read(layout, *arguments)

    monkeypatch.setattr(FeatureLayout, "read", reading_features)
    return steps


def test_a_batch_during_which_the_plan_changes_is_of_the_plan_before(
    deck: Deck, between: list[Callable[[], object]]
) -> None:
    between.append(lambda: next_plan(deck))
    during = deck.ask(*pumps(range(40)))
    assert {answer["plan"] for answer in during} == {1} and {answer["version"] for answer in during} == {"1", "2"}
    after = deck.ask(*pumps(range(40)))
    assert {(answer["plan"], answer["version"]) for answer in after} == {(2, "2")}
    require_agreement(deck, during + after)


def test_a_run_that_is_made_again_after_a_change_is_of_the_plan_after_it_whole(
    deck: Deck, between: list[Callable[[], object]]
) -> None:
    def change_and_break() -> None:
        next_plan(deck)
        raise RuntimeError("once")

    between.append(change_and_break)
    answers = deck.ask(*pumps(range(40)))
    assert {(answer["plan"], answer["version"]) for answer in answers} == {(2, "2")}
    require_agreement(deck, answers)


def test_calls_that_wait_while_the_plan_changes_are_of_the_plan_after_and_the_run_before_is_not(
    serve: Callable[..., Deck], between: list[Callable[[], object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Predictor, "answer_at_once", lambda *_: None)  # as where it would wait: in a thread
    deck = serve()
    deck.plan()
    begun, free = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        assert free.wait(60)

    between.append(hold)
    waiting = deck.http.app.state.server.gatherer._waiting  # type: ignore[attr-defined]
    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(deck.ask, *pumps(range(10)))
        assert begun.wait(60)
        others = [threads.submit(deck.ask, *pumps(range(n), load=n / 9)) for n in range(1, 8)]
        wait_for(lambda: len(waiting) == len(others))
        next_plan(deck)
        free.set()
        during, after = first.result(60), [answer for other in others for answer in other.result(60)]
    assert {answer["plan"] for answer in during} == {1} and {answer["version"] for answer in during} == {"1", "2"}
    assert {(answer["plan"], answer["version"]) for answer in after} == {(2, "2")} and len(after) == 28
    require_agreement(deck, during + after)


def test_an_answer_that_is_repeated_after_a_change_names_the_plan_of_the_first(
    deck: Deck, between: list[Callable[[], object]]
) -> None:
    sent = [{**one, "id": f"{n}"} for n, one in enumerate(pumps(range(20)))]
    between.append(lambda: next_plan(deck))
    first = deck.ask(*sent[:10])
    mixed = deck.ask(*sent)
    assert mixed[:10] == first and {answer["plan"] for answer in mixed[10:]} == {2}
    assert [deck.http.get(f"/v1/predictions/{n}").json() for n in range(20)] == mixed
    require_agreement(deck, mixed)
