"""The deployment DAG under simulated traffic, with a clock that a thread drives."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.context import Context, build_context
from tests.conftest import TOY
from tests.rollouts import Score, champion_first, clock, inverted, same, set_alias, traffic
from tests.services import thorough


@contextmanager
def replayed(context: Context, ours: Score) -> Iterator[None]:
    """Simulates traffic day by day while a stage of a rollout is in force, as fast as the judge follows."""
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


def states(run: Any) -> dict[str, str]:
    return {ti.task_id: str(ti.state) for ti in run.get_task_instances()}


def deploy(load: Callable[..., Any], desk: Context, **conf: Any) -> tuple[str, dict[str, str]]:
    run = load(home=desk.settings.home).dags["pumps_deployment"].test(run_conf=conf)
    return str(run.state), states(run)


def test_dags_serialize_with_their_watchers(load: Callable[..., Any]) -> None:
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


def test_a_change_of_the_alias_arrives_from_training_or_the_watcher(load: Callable[..., Any]) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    training = {"version": "2", "change": 3, "as_of": "2024-04-01T00:00:00+00:00"}
    watcher = {"from_trigger": True, "payload": {"alias": "challenger", "version": "1", "change": 4}}
    planned = plan_of(load, training)
    assert (planned["version"], planned["change"], planned["actor"]) == ("2", 3, "training")
    planned = plan_of(load, training, watcher)
    assert (planned["version"], planned["change"], planned["actor"]) == ("1", 4, "alias")
    with pytest.raises(AirflowSkipException, match="no change of the alias"):
        plan_of(load, {**training, "change": None})


def test_a_rollout_that_did_not_start_is_not_ended(load: Callable[..., Any]) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    dag = load(TOY).dags["pumps_deployment"]
    nothing = SimpleNamespace(xcom_pull=lambda task_ids: None)
    for task in ("finish", "roll_back"):
        with pytest.raises(AirflowSkipException, match="nothing had begun"):
            dag.get_task(task).python_callable(ti=nothing)


def test_without_a_judgement_nothing_is_promoted(load: Callable[..., Any]) -> None:
    """As when a person marks the judge's tasks as successful."""
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


def test_each_stage_adds_one_edge_to_the_graph(load: Callable[..., Any]) -> None:
    """The graph is read by people: a failure anywhere reaches the rollback through `finish` alone."""
    dag = load(TOY).dags["pumps_deployment"]
    assert dag.get_task("roll_back").upstream_task_ids == {"finish"}
    judges = [task for task in dag.task_ids if task.endswith(".judge")]
    assert [dag.get_task(judge).upstream_task_ids for judge in judges] == [
        {judge.replace(".judge", ".set_stage")} for judge in judges
    ]
    assert dag.get_task("finish").upstream_task_ids == {judges[-1]}
