"""A plan that changes while calls are under way: each answer follows one plan, and so does its row in the log."""

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
from tests.serving.conftest import App, ModelHome, half_each, reading
from tests.serving.test_workers import wait_for

Answers = list[dict[str, Any]]
ALONE: dict[str, Any] = {"challenger": None, "challenger_uri": None, "challenger_sha256": None, "share": 0.0}


def next_plan(app: App) -> Plan:
    """Put a plan in force by which the challenger of `half_each` is the only version."""
    before = half_each(app.model_home)
    assert before.challenger and before.challenger_uri
    return app.plan(champion=before.challenger, champion_uri=before.challenger_uri, **ALONE)


def plans(model_home: ModelHome) -> dict[int, Plan]:
    """Both plans of these tests, by plan version."""
    first = half_each(model_home)
    assert first.challenger
    return {1: first, 2: replace(first, version=2, champion=first.challenger, **ALONE)}


def require_agreement(app: App, answers: Answers) -> None:
    """Check that each answer is in the log once, unchanged, and follows the plan that it names."""
    logged = {row.prediction_id: row for row in read_log(app.log)}
    assert len(read_log(app.log)) == len(logged) == len({answer["id"] for answer in answers}) == len(answers)
    for answer in answers:
        row, plan = logged[answer["id"]], plans(app.model_home)[answer["plan"]]
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
    """Actions that runs call in order, one each, between taking their route and reading features."""
    steps: list[Callable[[], object]] = []
    read = FeatureLayout.read

    def reading_features(layout: FeatureLayout, *arguments: Any) -> RequestFeatures:
        if steps:
            steps.pop(0)()
        return read(layout, *arguments)

    monkeypatch.setattr(FeatureLayout, "read", reading_features)
    return steps


def test_a_batch_is_answered_by_the_plan_in_force_when_its_run_began(
    app: App, between: list[Callable[[], object]]
) -> None:
    between.append(lambda: next_plan(app))
    during = app.ask(*pumps(range(40)))
    assert {answer["plan"] for answer in during} == {1} and {answer["version"] for answer in during} == {"1", "2"}
    after = app.ask(*pumps(range(40)))
    assert {(answer["plan"], answer["version"]) for answer in after} == {(2, "2")}
    require_agreement(app, during + after)


def test_a_run_repeated_after_a_change_follows_the_new_plan_throughout(
    app: App, between: list[Callable[[], object]]
) -> None:
    def change_and_break() -> None:
        next_plan(app)
        raise RuntimeError("once")

    between.append(change_and_break)
    answers = app.ask(*pumps(range(40)))
    assert {(answer["plan"], answer["version"]) for answer in answers} == {(2, "2")}
    require_agreement(app, answers)


def test_waiting_calls_follow_the_new_plan_and_the_run_under_way_the_old_one(
    serve: Callable[..., App], between: list[Callable[[], object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Predictor, "answer_at_once", lambda *_: None)  # in a thread, as for a run that would wait
    app = serve()
    app.plan()
    begun, free = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        assert free.wait(60)

    between.append(hold)
    waiting = app.http.app.state.server.gatherer._waiting  # type: ignore[attr-defined]
    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(app.ask, *pumps(range(10)))
        assert begun.wait(60)
        others = [threads.submit(app.ask, *pumps(range(n), load=n / 9)) for n in range(1, 8)]
        wait_for(lambda: len(waiting) == len(others))
        next_plan(app)
        free.set()
        during, after = first.result(60), [answer for other in others for answer in other.result(60)]
    assert {answer["plan"] for answer in during} == {1} and {answer["version"] for answer in during} == {"1", "2"}
    assert {(answer["plan"], answer["version"]) for answer in after} == {(2, "2")} and len(after) == 28
    require_agreement(app, during + after)


def test_a_repeated_answer_names_the_plan_of_the_first_one(app: App, between: list[Callable[[], object]]) -> None:
    sent = [{**one, "id": f"{n}"} for n, one in enumerate(pumps(range(20)))]
    between.append(lambda: next_plan(app))
    first = app.ask(*sent[:10])
    mixed = app.ask(*sent)
    assert mixed[:10] == first and {answer["plan"] for answer in mixed[10:]} == {2}
    assert [app.http.get(f"/v1/predictions/{n}").json() for n in range(20)] == mixed
    require_agreement(app, mixed)
