"""The deployment DAG: from a challenger to a promotion or back, one stage of the ramp after the other.

It starts when training registers a challenger, when a person sets the alias `challenger` in MLflow, or from its form.
Every stage waits, deferred, until the judge answers. PROMOTE ends the last stage; ROLLBACK ends any. A failed task
sends all traffic back to the champion and fails the run. The first model ever takes all traffic after preflight.

The override DAG honours an alias `champion` that a person sets: at once, beside a rollout, which it aborts. It notes
other aliases that people have changed, too; a `challenger` among them is told to its watcher all the same.
"""

from __future__ import annotations

import hashlib
from typing import Any

from airflow.sdk import DAG, Asset, AssetWatcher, Metadata, Param, TaskGroup, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

import bridge
from pipelines.context import Context
from rollout import AliasTrigger, JudgeOperator

ENDINGS = {"PROMOTE": "promote", "ROLLBACK": "rollback", "KEEP_CHAMPION": "keep", "ABORT": "abort"}


def watched(params_file: str, about: Context, alias: str) -> Asset:
    """The asset of an alias set by hand."""
    trigger = AliasTrigger(params_file, alias, about.params.rollout.poll_seconds)
    watcher = AssetWatcher(name=f"{about.usecase.name}_{alias}_watcher", trigger=trigger)
    return bridge.asset(about.usecase.name, f"{alias}_alias", watchers=[watcher])


def build(params_file: str, about: Context) -> DAG:
    usecase, settings = about.usecase, about.params.rollout
    champion = bridge.asset(usecase.name, "champion")
    form = {
        "version": Param(
            None,
            type=["null", "string"],
            title="Version",
            description="A registered version to roll out. Empty: the one that alias challenger names.",
        ),
    }
    schedule = bridge.asset(usecase.name, "challenger") | watched(params_file, about, "challenger")
    with bridge.dag(about, "deployment", "Roll out a challenger of", schedule, form, __doc__) as dag:

        @task
        def plan(triggering_asset_events: Any = None, **context: Any) -> dict[str, Any]:
            """Which version, for which change of the alias: the form's, else the newest asset event's."""
            run = context["dag_run"]
            bridge.refuse_unknown(run.conf, list(form))
            events = bridge.events(triggering_asset_events or {})
            told = [(event.get("payload", event), "alias" if "payload" in event else "training") for event in events]
            changes = [one for one in told if one[0].get("change") is not None]
            if told and not changes:
                raise AirflowSkipException(f"no change of the alias came with {told[-1][0]}: nothing to roll out")
            if changes:  # several may have waited while a rollout was under way: the last change is the one that holds
                news, actor = max(changes, key=lambda one: one[0]["change"])
                version, change = news["version"], news["change"]
            else:
                change = None
                version, actor = context["params"]["version"], "form"
                version = version or bridge.run("resolve_model", {"alias": "challenger"}, params_file)["version"]
            if version is None:
                raise AirflowFailException("no version has the alias challenger; give a version in the form")
            name = f"v{version}-{hashlib.sha256(run.run_id.encode()).hexdigest()[:8]}"
            return {"version": version, "change": change, "actor": actor, "run": name}

        @task.short_circuit
        def go_on(started: dict[str, Any]) -> bool:
            """Whether there is anything to roll out; this alias change may have had its rollout."""
            print(started["why"])
            return bool(started["proceed"])

        planned = plan()
        started = bridge.step("start_rollout", params_file)(
            **{key: planned[key] for key in ("version", "change", "actor", "run")}
        )
        checked = bridge.step("preflight", params_file, retries=3)(
            rollout=started["rollout"], version=started["challenger"]
        )
        go_on(started) >> checked
        judges: list[JudgeOperator] = []
        for stage in settings.stages:
            with TaskGroup(f"stage_{stage.name}", tooltip=f"{stage.share:.0%} of the traffic"):
                entered = enter(params_file, stage.name, judges[-1].task_id if judges else None)()
                judge = JudgeOperator(
                    task_id="judge",
                    rollout="{{ ti.xcom_pull(task_ids='plan')['run'] }}",
                    stage=stage.name,
                    params_file=params_file,
                    poll_seconds=settings.poll_seconds,
                    deadline_hours=settings.deadline_hours,
                    retries=3,
                    doc_md=bridge.about_step("judge_rollout"),
                )
                (judges[-1] if judges else checked) >> entered >> judge
            judges.append(judge)

        @task(trigger_rule="none_failed", retries=3, doc_md=bridge.about_step("finish_rollout"))
        def finish(ti: Any = None) -> dict[str, Any]:
            """End it as the last judge said. The first model is promoted once it has passed preflight."""
            started = ti.xcom_pull(task_ids="start_rollout")
            if not started:
                raise AirflowSkipException("nothing had begun")
            answers = [ti.xcom_pull(task_ids=judge.task_id) for judge in judges]
            answer = next((answer for answer in reversed(answers) if answer), None)
            if answer is None and not started["direct"]:
                raise AirflowFailException("no judge has answered; nothing is promoted")
            action = ENDINGS[answer["action"]] if answer else "promote"
            reason = answer["reason"] if answer else "the first model: it passed preflight, and there is no champion"
            ending = {"rollout": started["rollout"], "action": action, "reason": reason}
            if answer and answer["decision_id"]:
                ending["decision_id"] = answer["decision_id"]
            done = bridge.run("finish_rollout", ending, params_file)
            print(f"{done['action']}: {done['reason']}; version {done['champion']} has the traffic")
            return {**done, "rollout": started["rollout"]}

        @task(outlets=[champion])
        def announce_champion(done: dict[str, Any]) -> Any:
            """Tell the world of a new champion."""
            if done["action"] != "promote":
                raise AirflowSkipException(f"the rollout ended with {done['action']}: the champion stays")
            yield Metadata(champion, {"version": done["champion"], "rollout": done["rollout"]})

        @task(retries=5)
        def roll_back(ti: Any = None, dag_run: Any = None) -> dict[str, Any]:
            """However the run came to its end: a rollout that has not ended by now goes back to the champion."""
            planned = ti.xcom_pull(task_ids="plan")
            if not planned:
                raise AirflowSkipException("nothing had begun")
            reason = f"the deployment run {dag_run.run_id} failed or was ended; the red task's log says more"
            ending = {"rollout": planned["run"], "action": "rollback", "reason": reason}
            done = bridge.run("finish_rollout", ending, params_file)
            if done["reason"] != reason:
                raise AirflowSkipException(f"nothing to roll back: {done['action']} ({done['reason']})")
            return done

        # A failure anywhere reaches `finish` as upstream_failed. A teardown runs also when a person ends the run.
        finished = finish()
        judges[-1] >> finished >> roll_back().as_teardown(on_failure_fail_dagrun=True)
        announce_champion(finished)
    return dag


def enter(params_file: str, stage: str, judge_before: str | None) -> Any:
    """The task that puts a stage in force, unless the judge of the one before has said otherwise."""

    @task(task_id="set_stage", doc_md=bridge.about_step("set_stage"), retries=3)
    def set_stage(ti: Any = None) -> dict[str, Any]:
        started = ti.xcom_pull(task_ids="start_rollout")
        before = ti.xcom_pull(task_ids=judge_before) if judge_before else None
        if started["direct"]:
            raise AirflowSkipException("the first model goes straight to all traffic")
        if before and before["action"] != "ADVANCE":
            raise AirflowSkipException(f"the judge said {before['action']}")
        return bridge.run("set_stage", {"rollout": started["rollout"], "stage": stage}, params_file)

    return set_stage


def build_override(params_file: str, about: Context) -> DAG:
    schedule = watched(params_file, about, "champion")
    with bridge.dag(about, "override", "Honour a champion set by hand for", schedule, {}, __doc__) as dag:
        bridge.step("reconcile_aliases", params_file, retries=3)()
    return dag


globals().update(bridge.declared(build, build_override))
