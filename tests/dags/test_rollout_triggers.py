"""The triggers of the deployment DAG: one fires on a change of an alias, one on what a waiting stage needs."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipelines.context import Context
from pipelines.errors import InvalidInput, Unavailable
from pipelines.records import DecisionKind
from pipelines.steps import execute
from tests.conftest import TOY
from tests.postgres_fixtures import on_both
from tests.rollouts import champion_first, clock, same, set_alias, traffic

pytestmark = on_both
LOOKS = 6  # of a trigger; they take longer than its grace period


@pytest.fixture
def watch(desk: Context, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """The events that triggers fire around a change of the aliases: each looks several times before and after it."""
    import rollout
    from rollout import AliasTrigger

    monkeypatch.setenv("FLIGHTDECK_HOME", str(desk.settings.home))
    monkeypatch.setattr("pipelines.deployment.aliases.GRACE", 0.2)

    looks: list[str] = []
    look = rollout._unrecorded_change

    def counted(alias: str, context: Context) -> str | None:
        try:
            return look(alias, context)
        finally:
            looks.append(alias)

    monkeypatch.setattr(rollout, "_unrecorded_change", counted)

    def run(triggers: int = 1, do: Any = None, alias: str = "challenger", seconds: float = 0.5) -> list[Any]:
        fired: list[Any] = []

        def pass_time() -> None:
            time.sleep(seconds)
            enough = len(looks) + LOOKS * triggers  # however late they are on a busy machine
            while len(looks) < enough:
                time.sleep(0.02)

        async def follow() -> None:
            trigger = AliasTrigger(str(TOY), alias, 0.05)
            name, arguments = trigger.serialize()
            assert name == "rollout.AliasTrigger" and AliasTrigger(**arguments).serialize() == trigger.serialize()
            async for event in trigger.run():
                fired.append(event.payload)  # noqa: PERF401 - each as it comes

        async def main() -> None:
            tasks = [asyncio.create_task(follow()) for _ in range(triggers)]
            await asyncio.to_thread(pass_time)
            if do is not None:
                await asyncio.to_thread(do)
                await asyncio.to_thread(pass_time)
            for task in tasks:
                assert not task.done(), "no event ends a watcher"
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run(main())
        return fired

    return run


def test_the_watcher_reports_each_change_once(desk: Context, watch: Callable[..., list[Any]]) -> None:
    set_alias(desk, "challenger", "1")
    assert watch() == [], "an alias that training set fires nothing"
    events = watch(triggers=3, do=lambda: desk.models.set_alias("challenger", "2"))
    assert events == [{"alias": "challenger", "version": "2", "change": 2}]
    assert watch() == events, "after a restart it is reported again, until a rollout claims it"
    desk.aliases.claim("challenger", 2, "a")
    assert watch() == []
    desk.models.set_alias("challenger", "1")  # while Airflow is down
    assert watch() == [{"alias": "challenger", "version": "1", "change": 3}], "an earlier version again"
    desk.models.drop_alias("challenger", "1")
    assert watch() == []
    desk.models.set_alias("challenger", "1")
    assert watch() == [{"alias": "challenger", "version": "1", "change": 5}]


def test_an_alias_that_the_chain_sets_before_recording_it_fires_nothing(
    desk: Context, watch: Callable[..., list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.deployment.aliases.GRACE", 1.0)

    def register() -> None:
        desk.models.set_alias("challenger", "2")
        time.sleep(0.4)  # the watcher looks meanwhile
        desk.aliases.note("challenger", "2", "training", datetime.now(UTC))

    assert watch(do=register, seconds=1.2) == []


@pytest.fixture
def noted_by_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watchers have a long grace period, so `reconcile_aliases` records a change first."""
    monkeypatch.setattr("pipelines.deployment.aliases.GRACE", 60.0)
    monkeypatch.setattr("pipelines.deployment.aliases.sleep", lambda _: None)


def test_a_challenger_that_the_step_recorded_is_reported_to_one_watcher(
    desk: Context, watch: Callable[..., list[Any]], noted_by_the_step: None
) -> None:
    champion_first(desk)

    def by_hand(*versions: str) -> None:
        for version in versions:
            if version:
                desk.models.set_alias("challenger", version)
            else:
                desk.models.drop_alias("challenger", "2")
            assert execute("reconcile_aliases", {}, desk)["noted"] == {"challenger": version}

    events = watch(triggers=3, do=lambda: by_hand("2"))
    assert events == [{"alias": "challenger", "version": "2", "change": 3}]  # 1: version 1, 2: its removal
    assert watch(do=lambda: by_hand("")) == events, "after a restart it is reported again; its removal is not"
    assert watch() == []
    by_hand("2")  # while Airflow is down
    (news,) = watch()
    assert news["change"] == 5
    started = {"version": news["version"], "change": news["change"], "actor": "alias", "run": "a"}
    assert execute("start_rollout", started, desk)["proceed"] and watch() == []
    lines = [(e.version, e.actor) for e in desk.ledger.entries(aliases=True) if e.title == "alias challenger"]
    assert lines[2:] == [("2", "out-of-band"), ("", "out-of-band"), ("2", "out-of-band")], "one line a change"


def test_the_watcher_reports_a_champion_that_the_step_recorded_and_did_not_put_in_force(
    desk: Context, watch: Callable[..., list[Any]], noted_by_the_step: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    champion_first(desk)

    def force(version: str) -> None:
        desk.models.set_alias("champion", version)
        execute("reconcile_aliases", {}, desk)

    force("3")
    assert watch(alias="champion") == []
    plan = desk.plans.current()
    assert plan is not None and plan.champion == "3"

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    def half() -> None:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr("pipelines.deployment.override.honour", killed)
            force("2")

    assert watch(alias="champion", do=half) == [{"alias": "champion", "version": "2", "change": 3}]


@pytest.fixture
def in_shadow(desk: Context, monkeypatch: pytest.MonkeyPatch) -> Context:
    monkeypatch.setenv("FLIGHTDECK_HOME", str(desk.settings.home))
    champion_first(desk)
    execute("start_rollout", {"version": "2", "actor": "test", "run": "a"}, desk)
    execute("set_stage", {"rollout": "a", "stage": "shadow"}, desk)
    return desk


LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
ANSWER = {"pulse": "none", "bound": None, "rule": "", "blocks": 0, "rows": 0, "reason": "", "next_step": ""}


async def fired(seen: str, began: datetime | None = None, patience: float = 60, params: Path = TOY) -> Any:
    from rollout import JudgeTrigger

    trigger = JudgeTrigger(str(params), "a", "shadow", seen, (began or datetime.now(UTC)).isoformat())
    again = JudgeTrigger(**trigger.serialize()[1])
    return (await asyncio.wait_for(anext(again.run()), patience)).payload


def looks(context: Context) -> list[str]:
    return [str(one["verdict"]) for one in context.decisions.all(DecisionKind.ROLLOUT)]


def judge_task() -> Any:
    from rollout import JudgeOperator

    return JudgeOperator(task_id="judge", rollout="a", stage="shadow", params_file=str(TOY))


def test_a_waiting_stage_is_judged_on_each_new_pulse_until_the_judge_no_longer_holds(
    in_shadow: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    import rollout

    lines = list[str]()
    monkeypatch.setattr(rollout.log, "info", lambda text, *values: lines.append(text % values))
    pulses, pulse = list[str](), rollout._pulse

    def counted(name: str, context: Context) -> str:
        pulses.append(pulse(name, context))
        return pulses[-1]

    monkeypatch.setattr(rollout, "_pulse", counted)
    with pytest.raises(TimeoutError):
        asyncio.run(fired(pulse("a", in_shadow), patience=5))
    assert looks(in_shadow) == [] and len(pulses) > 1, "nothing happened"

    traffic(in_shadow, clock(in_shadow).advance, 1, same)  # the last day before a block has its labels

    def day() -> None:
        until = time.monotonic() + 30
        while not looks(in_shadow) and time.monotonic() < until:
            time.sleep(0.02)
        traffic(in_shadow, clock(in_shadow).advance, 1, same)

    async def both() -> Any:
        waiting = asyncio.create_task(fired("an earlier pulse"))
        await asyncio.to_thread(day)
        return await waiting

    events = asyncio.run(both())
    assert events["answer"]["action"] == "ADVANCE" and not events["out_of_time"]
    assert looks(in_shadow) == ["HOLD", "ADVANCE"], "a HOLD fires no event, and each pulse is judged once"
    told_of = [line.partition(": ")[0] for line in lines if " at stage " in line]
    assert told_of == ["HOLD at stage shadow", "ADVANCE at stage shadow"], "in the task's log"
    judge, looked = rollout._judge, list[str]()

    def counted_look(context: Context, name: str, *given: Any) -> dict[str, Any]:
        looked.append(name)
        return judge(context, name, *given)

    monkeypatch.setattr(rollout, "_judge", counted_look)
    assert judge_task().resume({}, events) == events["answer"] and looked == [], "the answer needs no further look"
    stale = {**events, "answer": {**events["answer"], "pulse": "an earlier pulse"}}
    for event in (stale, {"out_of_time": False}):
        assert judge_task().resume({}, event)["action"] == "ADVANCE"
    assert looked == ["a", "a"], "the task itself judges what has happened since"


def test_a_stage_that_is_out_of_time_is_judged_one_last_time(in_shadow: Context) -> None:
    from pipelines.deployment.pulse import pulse

    event = asyncio.run(fired(pulse("a", in_shadow), LONG_AGO))
    assert (event["answer"]["action"], event["answer"]["rule"]) == ("INCONCLUSIVE", "wall_clock") and event[
        "out_of_time"
    ]


def test_each_look_of_a_trigger_reads_the_current_params(
    in_shadow: Context, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import rollout

    params, limits = tmp_path / "params.yaml", list[float]()
    params.write_text(TOY.read_text())

    def judge(context: Context, *_: Any) -> dict[str, Any]:
        limits.append(context.params.rollout.judge.max_days)
        params.write_text(re.sub(r"max_days: \d+", "max_days: 7", params.read_text()))
        return {**ANSWER, "action": "HOLD" if len(limits) == 1 else "ADVANCE"}

    monkeypatch.setattr(rollout, "_judge", judge)
    event = asyncio.run(fired("an earlier pulse", params=params))
    assert event["answer"]["action"] == "ADVANCE" and limits == [in_shadow.params.rollout.judge.max_days, 7] != [7, 7]


def test_an_answer_about_a_rollout_that_is_no_longer_in_force_is_judged_again(
    in_shadow: Context, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import rollout

    def away(*_: Any) -> str:
        raise ValueError("postgresql://ann:CANARY@db/records is away")

    monkeypatch.setattr(rollout, "_pulse", away)
    monkeypatch.setattr(rollout, "_judge", lambda *_: {**ANSWER, "action": "ROLLBACK"})
    answer_event = {"answer": {**ANSWER, "action": "PROMOTE"}, "out_of_time": False}
    assert judge_task().resume({}, answer_event)["action"] == "ROLLBACK"
    assert "is away" in caplog.text and "CANARY" not in caplog.text


def test_an_error_of_the_judge_wakes_the_task_and_fails_it_with_the_reason(
    in_shadow: Context, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    import rollout

    tried = []

    def failing(*arguments: Any) -> dict[str, Any]:
        tried.append(arguments)
        if len(tried) < 3:
            raise Unavailable("the records are away")
        raise InvalidInput("postgresql://ann:CANARY@db/records makes no sense")

    monkeypatch.setattr(rollout, "_judge", failing)
    for began, late in ((None, False), (LONG_AGO, True)):
        tried.clear()
        event = asyncio.run(fired("an earlier pulse", began))
        assert event == {"answer": None, "out_of_time": late} and len(tried) == 3, (
            "an unreachable service is tried again"
        )
    log = caplog.text
    assert "the records are away" in log and "makes no sense" in log and "CANARY" not in log
    with pytest.raises(AirflowFailException, match="makes no sense"):
        judge_task().resume({}, event)
    monkeypatch.setattr(rollout, "BLIND", 0.3)
    monkeypatch.setattr(rollout, "_pulse", lambda *_: 1 // 0)
    assert asyncio.run(fired("an earlier pulse")) == {"answer": None, "out_of_time": False}, (
        "without a pulse there is nothing to judge"
    )
