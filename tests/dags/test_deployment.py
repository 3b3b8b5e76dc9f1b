"""The deployment DAG under simulated traffic, with a clock that a thread drives; and the watcher's trigger."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.clock import ReplayClock
from pipelines.context import Context, build_context
from pipelines.errors import InvalidInput, Unavailable
from pipelines.records import DecisionKind
from pipelines.steps import execute
from tests.conftest import TOY
from tests.rollouts import Score, inverted, same, set_alias, started_over, traffic
from tests.services import thorough

START = datetime(2024, 4, 1, tzinfo=UTC)


@pytest.fixture
def desk(versions_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    monkeypatch.setattr("pipelines.deployment.aliases.GRACE", 0.0)
    return started_over(versions_home, tmp_path / "home", START)


def clock(context: Context) -> ReplayClock:
    return ReplayClock(context.records.simulated_time("pumps"))


@contextmanager
def replayed(context: Context, ours: Score) -> Iterator[None]:
    """Traffic of one day after the other while a rollout has a stage in force, as fast as the judge follows."""
    over = threading.Event()
    own = build_context(TOY, context.settings.home)
    plans = own.plans

    def replay() -> None:
        while not over.wait(0.3):
            plan = plans.current()
            if plan is not None and plan.stage:
                traffic(own, clock(own).advance, 1, ours)

    thread = threading.Thread(target=replay)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def champion_first(context: Context) -> None:
    change = set_alias(context, "challenger", "1")
    set_alias(context, "champion", "1")
    execute("start_rollout", {"version": "1", "change": change, "actor": "test", "run": "first"}, context)
    execute("finish_rollout", {"rollout": "first", "action": "promote", "reason": "first"}, context)


def states(run: Any) -> dict[str, str]:
    return {ti.task_id: str(ti.state) for ti in run.get_task_instances()}


def deploy(load: Callable[..., Any], desk: Context, **conf: Any) -> tuple[str, dict[str, str]]:
    run = load(home=desk.settings.home).dags["pumps_deployment"].test(run_conf=conf)
    return str(run.state), states(run)


def test_they_serialize_with_their_watchers(load: Callable[..., Any]) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    for dag_id, alias in (("pumps_deployment", "challenger"), ("pumps_override", "champion")):
        dag = load().dags[dag_id]
        assert f"pumps_{alias}_watcher" in str(DagSerialization.to_dict(dag))


def test_the_first_model_goes_straight_to_all_traffic(load: Callable[..., Any], desk: Context) -> None:
    set_alias(desk, "challenger", "1")
    set_alias(desk, "champion", "1")
    state, tasks = deploy(load, desk)
    assert state == "success" and tasks["finish"] == tasks["announce_champion"] == "success"
    assert {tasks[name] for name in tasks if name.startswith("stage_") or name == "roll_back"} == {"skipped"}
    plan = desk.plans.current()
    assert plan is not None and (plan.champion, plan.challenger) == ("1", None)


@thorough
def test_an_equal_challenger_climbs_the_ramp_and_is_promoted(load: Callable[..., Any], desk: Context) -> None:
    champion_first(desk)
    with replayed(desk, same):
        state, tasks = deploy(load, desk, version="2")
    assert state == "success" and desk.models.aliases() == {"champion": "2", "previous": "1"}
    assert {tasks[f"stage_{name}.judge"] for name in ("shadow", "25", "100")} == {"success"}
    assert tasks["roll_back"] == "skipped"
    again, tasks = deploy(load, desk, version="2")
    assert again == "success" and tasks["finish"] == "skipped" and tasks["go_on"] == "success"


@thorough
def test_an_inverted_challenger_is_rolled_back_and_the_run_succeeds(load: Callable[..., Any], desk: Context) -> None:
    champion_first(desk)
    with replayed(desk, inverted):
        state, tasks = deploy(load, desk, version="2")
    assert state == "success" and tasks["finish"] == "success" and tasks["announce_champion"] == "skipped"
    assert tasks["stage_100.set_stage"] == "skipped"
    assert desk.models.aliases() == {"champion": "1"}
    assert desk.ledger.entries()[-1].action == "rollback"


def test_a_failed_task_rolls_back_and_fails_the_run(
    load: Callable[..., Any], desk: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    champion_first(desk)
    desk.tracker.client.set_model_version_tag("pumps", "2", "sha256", "0" * 64)
    state, tasks = deploy(load, desk, version="2")
    assert state == "failed" and tasks["preflight"] == "failed" and tasks["roll_back"] == "success"
    assert tasks["finish"] == "upstream_failed"
    last = desk.ledger.entries()[-1]
    assert (last.action, last.version) == ("rollback", "2") and desk.models.aliases() == {"champion": "1"}


def test_an_override_switches_the_plan(load: Callable[..., Any], desk: Context) -> None:
    champion_first(desk)
    desk.models.set_alias("champion", "3")
    run = load(home=desk.settings.home).dags["pumps_override"].test()
    plan = desk.plans.current()
    assert run.state == "success" and plan is not None and plan.champion == "3"


def plan_of(load: Callable[..., Any], *extras: dict[str, Any]) -> dict[str, Any]:
    task = load().dags["pumps_deployment"].get_task("plan")
    events = [
        SimpleNamespace(timestamp=datetime(2024, 1, n + 1, tzinfo=UTC), extra=extra, asset=SimpleNamespace(name="a"))
        for n, extra in enumerate(extras)
    ]
    run = SimpleNamespace(run_id="asset__1", conf={})
    return dict(task.python_callable(triggering_asset_events={"a": events}, dag_run=run, params={"version": None}))


def test_the_news_comes_from_training_or_from_the_watcher(load: Callable[..., Any]) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    training = {"version": "2", "change": 3, "as_of": "2024-04-01T00:00:00+00:00"}
    watcher = {"from_trigger": True, "payload": {"alias": "challenger", "version": "1", "change": 4}}
    planned = plan_of(load, training)
    assert (planned["version"], planned["change"], planned["actor"]) == ("2", 3, "training")
    planned = plan_of(load, training, watcher)
    assert (planned["version"], planned["change"], planned["actor"]) == ("1", 4, "alias")
    with pytest.raises(AirflowSkipException, match="no change of the alias"):
        plan_of(load, {**training, "change": None})


def test_where_nothing_began_nothing_is_ended(load: Callable[..., Any]) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    dag = load(TOY).dags["pumps_deployment"]
    nothing = SimpleNamespace(xcom_pull=lambda task_ids: None)
    for task in ("finish", "roll_back"):
        with pytest.raises(AirflowSkipException, match="nothing had begun"):
            dag.get_task(task).python_callable(ti=nothing)


def test_where_no_judge_has_answered_nothing_is_promoted(load: Callable[..., Any]) -> None:
    """As when a person marks their tasks."""
    from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

    dag = load(TOY).dags["pumps_deployment"]
    goes_on = {"next_stage": True, "ending": None, "reason": "r", "decision_id": None}
    outputs: dict[str, Any] = {"start_rollout": {"rollout": "a", "proceed": True, **goes_on}}
    ti = SimpleNamespace(xcom_pull=lambda task_ids: outputs.get(task_ids))  # noqa: PLW0108  # it is called by name
    for advanced in ({}, {"stage_shadow.judge": goes_on}):
        outputs |= advanced
        with pytest.raises(AirflowFailException, match="no judge has answered; nothing is promoted"):
            dag.get_task("finish").python_callable(ti=ti)
    outputs["stage_25.judge"] = {**goes_on, "next_stage": False, "ending": "inconclusive"}
    with pytest.raises(AirflowSkipException, match="no stage follows"):
        dag.get_task("stage_100.set_stage").python_callable(ti=ti)


def test_one_edge_a_stage_is_all_there_is_to_see(load: Callable[..., Any]) -> None:
    """The graph is read by people: a failure anywhere reaches the rollback through `finish` alone."""
    dag = load(TOY).dags["pumps_deployment"]
    assert dag.get_task("roll_back").upstream_task_ids == {"finish"}
    judges = [task for task in dag.task_ids if task.endswith(".judge")]
    assert [dag.get_task(judge).upstream_task_ids for judge in judges] == [
        {judge.replace(".judge", ".set_stage")} for judge in judges
    ]
    assert dag.get_task("finish").upstream_task_ids == {judges[-1]}


LOOKS = 6  # of a trigger: more than its grace takes


@pytest.fixture
def watch(desk: Context, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """What triggers fire while something is done to the aliases: each looks some times before it, and after."""
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
            enough = len(looks) + LOOKS * triggers  # whatever a busy machine has kept them from until now
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
                assert not task.done(), "nothing that happens ends a watcher"
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run(main())
        return fired

    return run


def test_the_watcher_tells_each_change_once(desk: Context, watch: Callable[..., list[Any]]) -> None:
    set_alias(desk, "challenger", "1")
    assert watch() == [], "what training set is no news"
    told = watch(triggers=3, do=lambda: desk.models.set_alias("challenger", "2"))
    assert told == [{"alias": "challenger", "version": "2", "change": 2}]
    assert watch() == told, "after a restart it is told again, until a rollout has it"
    desk.aliases.claim("challenger", 2, "a")
    assert watch() == []
    desk.models.set_alias("challenger", "1")  # while Airflow is down
    assert watch() == [{"alias": "challenger", "version": "1", "change": 3}], "an earlier version again"
    desk.models.drop_alias("challenger", "1")
    assert watch() == []
    desk.models.set_alias("challenger", "1")
    assert watch() == [{"alias": "challenger", "version": "1", "change": 5}]


def test_an_alias_that_the_chain_sets_and_then_notes_is_no_news(
    desk: Context, watch: Callable[..., list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.deployment.aliases.GRACE", 1.0)

    def register() -> None:
        desk.models.set_alias("challenger", "2")
        time.sleep(0.4)  # the watcher looks in between
        desk.aliases.note("challenger", "2", "training", datetime.now(UTC))

    assert watch(do=register, seconds=1.2) == []


@pytest.fixture
def noted_by_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watchers are patient, and `reconcile_aliases` is not: it is the first to note."""
    monkeypatch.setattr("pipelines.deployment.aliases.GRACE", 60.0)
    monkeypatch.setattr("pipelines.deployment.aliases.sleep", lambda _: None)


def test_a_challenger_that_the_step_has_noted_is_told_to_one_watcher(
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

    told = watch(triggers=3, do=lambda: by_hand("2"))
    assert told == [{"alias": "challenger", "version": "2", "change": 3}]  # 1: version 1, 2: its removal
    assert watch(do=lambda: by_hand("")) == told, "after a restart it is told again; its removal is no news"
    assert watch() == []
    by_hand("2")  # while Airflow is down
    (news,) = watch()
    assert news["change"] == 5
    started = {"version": news["version"], "change": news["change"], "actor": "alias", "run": "a"}
    assert execute("start_rollout", started, desk)["proceed"] and watch() == []
    lines = [(e.version, e.actor) for e in desk.ledger.entries(aliases=True) if e.title == "alias challenger"]
    assert lines[2:] == [("2", "out-of-band"), ("", "out-of-band"), ("2", "out-of-band")], "one line a change"


def test_a_champion_that_the_step_has_honoured_is_no_news_and_one_that_it_only_noted_is(
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


def test_a_waiting_stage_is_looked_at_when_something_happened_until_the_judge_does_not_hold(
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

    told = asyncio.run(both())
    assert told["answer"]["action"] == "ADVANCE" and not told["out_of_time"]
    assert looks(in_shadow) == ["HOLD", "ADVANCE"], "a HOLD ends nothing, and each pulse has one look"
    told_of = [line.partition(": ")[0] for line in lines if " at stage " in line]
    assert told_of == ["HOLD at stage shadow", "ADVANCE at stage shadow"], "in the task's log"
    judge, looked = rollout._judge, list[str]()

    def counted_look(context: Context, name: str, *given: Any) -> dict[str, Any]:
        looked.append(name)
        return judge(context, name, *given)

    monkeypatch.setattr(rollout, "_judge", counted_look)
    assert judge_task().resume({}, told) == told["answer"] and looked == [], "which needs no other look"
    stale = {**told, "answer": {**told["answer"], "pulse": "an earlier pulse"}}
    for event in (stale, {"out_of_time": False}):
        assert judge_task().resume({}, event)["action"] == "ADVANCE"
    assert looked == ["a", "a"], "of what has happened since, the task looks itself"


def test_a_stage_whose_time_is_up_is_looked_at_one_last_time(in_shadow: Context) -> None:
    from pipelines.deployment.pulse import pulse

    told = asyncio.run(fired(pulse("a", in_shadow), LONG_AGO))
    assert (told["answer"]["action"], told["answer"]["rule"]) == ("INCONCLUSIVE", "wall_clock") and told["out_of_time"]


def test_each_look_of_a_trigger_has_the_params_of_its_time(
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
    told = asyncio.run(fired("an earlier pulse", params=params))
    assert told["answer"]["action"] == "ADVANCE" and limits == [in_shadow.params.rollout.judge.max_days, 7] != [7, 7]


def test_an_answer_whose_rollout_cannot_be_seen_any_more_is_looked_for_again(
    in_shadow: Context, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import rollout

    def away(*_: Any) -> str:
        raise ValueError("postgresql://ann:CANARY@db/records is away")

    monkeypatch.setattr(rollout, "_pulse", away)
    monkeypatch.setattr(rollout, "_judge", lambda *_: {**ANSWER, "action": "ROLLBACK"})
    told = {"answer": {**ANSWER, "action": "PROMOTE"}, "out_of_time": False}
    assert judge_task().resume({}, told)["action"] == "ROLLBACK"
    assert "is away" in caplog.text and "CANARY" not in caplog.text


def test_what_cannot_be_judged_wakes_the_task_which_fails_with_the_reason(
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
        told = asyncio.run(fired("an earlier pulse", began))
        assert told == {"answer": None, "out_of_time": late} and len(tried) == 3, "what is away may come back"
    log = caplog.text
    assert "the records are away" in log and "makes no sense" in log and "CANARY" not in log
    with pytest.raises(AirflowFailException, match="makes no sense"):
        judge_task().resume({}, told)
    monkeypatch.setattr(rollout, "BLIND", 0.3)
    monkeypatch.setattr(rollout, "_pulse", lambda *_: 1 // 0)
    assert asyncio.run(fired("an earlier pulse")) == {"answer": None, "out_of_time": False}, "nothing can be seen"
