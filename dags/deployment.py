"""The deployment DAG: from a challenger to a promotion or a rollback, one stage of the ramp after the other.

It starts when training registers a challenger, when a person sets the alias `challenger` in MLflow, or from its form.
Every stage waits, deferred, until the judge answers. PROMOTE ends the last stage; ROLLBACK ends any. A failed task
sends all traffic back to the champion and fails the run. The first model ever takes all traffic after preflight.

The override DAG puts a version in force at once when a person sets the alias `champion`, and aborts a running rollout.
It also records other aliases that people have changed; a changed `challenger` still reaches its watcher.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import chained
from airflow.sdk import DAG, Asset, AssetWatcher, Metadata, Param, TaskGroup, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

import bridge
from pipelines import chains
from pipelines.context import Context
from pipelines.params.rollout import RolloutRules
from rollout import AliasTrigger, JudgeOperator

OPTIONS: dict[str, dict[str, Any]] = {  # of tasks, by step
    "preflight": {"retries": 3},
    "finish_rollout": {"task_id": "finish", "trigger_rule": "none_failed"},
    "reconcile_aliases": {"retries": 3},
}
SKIPPED = {"set_stage": "by the previous answer no stage follows", "finish_rollout": "nothing had begun"}


def form_params() -> dict[str, Param]:
    return {
        "version": Param(
            None,
            type=["null", "string"],
            title="Version",
            description="A registered version to roll out. Empty: the one that alias challenger names.",
        ),
    }


def alias_asset(params_file: str, usecase_context: Context, alias: str) -> Asset:
    """The asset of an alias set by hand."""
    trigger = AliasTrigger(params_file, alias, usecase_context.params.rollout.poll_seconds)
    watcher = AssetWatcher(name=f"{usecase_context.usecase.name}_{alias}_watcher", trigger=trigger)
    return bridge.asset(usecase_context.usecase.name, f"{alias}_alias", watchers=[watcher])


def build(params_file: str, usecase_context: Context) -> DAG:
    usecase, settings = usecase_context.usecase, usecase_context.params.rollout
    champion, form = bridge.asset(usecase.name, "champion"), form_params()
    schedule = bridge.asset(usecase.name, "challenger") | alias_asset(params_file, usecase_context, "challenger")
    with bridge.dag(usecase_context, "deployment", "Roll out a challenger of", schedule, form, __doc__) as dag:

        @task(doc_md=bridge.describe_step("choose_challenger"))
        def plan(triggering_asset_events: Any = None, **context: Any) -> dict[str, Any]:
            """The version named by the form or by the change of the alias, and a name for its rollout."""
            run = context["dag_run"]
            bridge.refuse_unknown(run.conf, list(form))
            news = [change(extra) for extra in bridge.events(triggering_asset_events or {})]
            inputs = {"changes": news, "version": context["params"]["version"]}
            choice = bridge.run("choose_challenger", inputs, params_file)
            if choice["version"] is None:
                raise AirflowSkipException(choice["why"])
            name = f"v{choice['version']}-{hashlib.sha256(run.run_id.encode()).hexdigest()[:8]}"
            return {**{key: choice[key] for key in ("version", "change", "actor")}, "run": name}

        @task(outlets=[champion])
        def announce_champion(outputs: dict[str, Any]) -> Any:
            """Announce a new champion."""
            if outputs["action"] != "promote":
                raise AirflowSkipException(f"the rollout ended with {outputs['action']}: the champion stays")
            yield Metadata(champion, {"version": outputs["champion"], "rollout": outputs["rollout"]})

        @task(retries=5)
        def roll_back(ti: Any = None, dag_run: Any = None) -> dict[str, Any]:
            """Roll back a rollout that has not ended by now, however the run ended."""
            plan = ti.xcom_pull(task_ids="plan")
            if not plan:
                raise AirflowSkipException("nothing had begun")
            reason = f"the deployment run {dag_run.run_id} failed or was ended; the red task's log says more"
            ending = {"rollout": plan["run"], "action": "rollback", "reason": reason}
            outputs = bridge.run("finish_rollout", ending, params_file)
            if outputs["reason"] != reason:
                raise AirflowSkipException(f"nothing to roll back: {outputs['action']} ({outputs['reason']})")
            return outputs

        rollout, tasks = plan(), Ramp(params_file, settings)
        inputs = {key: rollout[key] for key in ("version", "change", "actor", "run")}
        chains.deployment(tasks, {**inputs, "stages": settings.names})
        finish = tasks.outputs["finish_rollout"]
        # A failure anywhere reaches `finish` as upstream_failed. A teardown runs also when a person ends the run.
        finish >> roll_back().as_teardown(on_failure_fail_dagrun=True)
        announce_champion(finish)
    return dag


def change(extra: Mapping[str, Any]) -> dict[str, Any]:
    """A change of the alias, from the asset event of the training DAG or of the watcher."""
    payload = extra.get("payload", extra)
    actor = "alias" if "payload" in extra else "training"
    return {"version": payload.get("version"), "change": payload.get("change"), "actor": actor}


@task.short_circuit
def go_on(rollout: dict[str, Any]) -> bool:
    """Whether there is a version to roll out; this change of the alias may have had its rollout already."""
    print(rollout["why"])
    return bool(rollout["proceed"])


class Ramp(chained.Tasks):
    """The deployment chain as one line of tasks. Tasks that may be skipped pull their inputs, without further edges."""

    def __init__(self, params_file: str, settings: RolloutRules) -> None:
        super().__init__(params_file, OPTIONS)
        self.settings = settings
        self.shares = {stage.name: stage.share for stage in settings.stages}
        self.stage: Any = None  # the group of the tasks of a stage
        self.end: Any = None  # of the line so far

    def when(self, condition: Any, step: str, **inputs: Any) -> Any:
        if step == "preflight":
            output = self(step, **inputs)
            go_on(self.outputs["start_rollout"]) >> output
        elif step == "set_stage":
            self.stage = TaskGroup(
                f"stage_{inputs['stage']}", tooltip=f"{self.shares[inputs['stage']]:.0%} of the traffic"
            )
            with self.stage:
                output = self._pulling(condition, step, inputs)
        elif step == "judge_rollout":  # it is skipped with its stage
            with self.stage:
                output = self._judge(**inputs)
        else:
            output = self._pulling(condition, step, inputs)
        if self.end is not None:
            self.end >> output
        self.outputs[step] = self.end = output
        return output

    def _pulling(self, condition: Any, name: str, inputs: Mapping[str, Any]) -> Any:
        options = {"task_id": name, "retries": 3, "doc_md": bridge.describe_step(name), **OPTIONS.get(name, {})}

        @task(**options)
        def run_step(ti: Any = None) -> dict[str, Any]:
            values = chained.pull(ti, {**inputs, "condition": condition})
            if not values.pop("condition"):
                raise AirflowSkipException(SKIPPED[name])
            if "action" in values and values["action"] is None:  # a person has marked a judge's task as done
                raise AirflowFailException("no judge has answered; nothing is promoted")
            return bridge.run(name, values, self.params_file)

        return run_step()

    def _judge(self, rollout: Any, stage: str) -> Any:
        return JudgeOperator(
            task_id="judge",
            rollout=f"{{{{ ti.xcom_pull(task_ids='{rollout.operator.task_id}')['{rollout.key}'] }}}}",
            stage=stage,
            params_file=self.params_file,
            retries=3,
            doc_md=bridge.describe_step("judge_rollout"),
        ).output


def build_override(params_file: str, usecase_context: Context) -> DAG:
    schedule = alias_asset(params_file, usecase_context, "champion")
    with bridge.dag(usecase_context, "override", "Honour a champion set by hand for", schedule, {}, __doc__) as dag:
        chains.override(chained.Tasks(params_file, OPTIONS), {})
    return dag


globals().update(bridge.build_dags(build, build_override))
