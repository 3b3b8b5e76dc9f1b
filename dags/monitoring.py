"""The monitoring DAG: score a window, join the labels that matured, report drift, decide whether to retrain.

It starts on its schedule, from its form (a window of days, a model version), or by a backfill. Scores are computed as
they would have been then, from features as of each prediction; labels count once they were known by `as_of`. If the
decision is RETRAIN, the training DAG is asked for a new model.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import chained
from airflow.sdk import DAG, Metadata, Param, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

import bridge
from pipelines import chains
from pipelines.context import Context


def build(params_file: str, about: Context) -> DAG:
    usecase, zone = about.usecase, about.usecase.timezone
    retrain = bridge.asset(usecase.name, "retrain")
    form = {
        **bridge.window_params(usecase),
        "as_of": Param(
            None,
            **bridge.DAY_PARAM,
            title="As of",
            description="Use labels known when this local day began. Empty: the end of the window.",
        ),
        "model_version": Param(
            None,
            type=["null", "string"],
            title="Model version",
            description="A registered version. Empty: the champion.",
        ),
        "request_retraining": Param(
            "auto",
            type="string",
            enum=["auto", "yes", "no"],
            title="Request retraining",
            description="Start the training DAG if the decision is RETRAIN. auto: yes, but no in a backfill.",
        ),
    }

    with bridge.dag(
        about,
        "monitoring",
        "Watch performance and drift, and decide whether to retrain, the model of",
        bridge.timetable(usecase, about.params.schedules.monitoring),
        form,
        __doc__,
    ) as dag:

        @task
        def plan(**context: Any) -> dict[str, Any]:
            """The window and what was known of it."""
            run, params = context["dag_run"], context["params"]
            bridge.refuse_unknown(run.conf, list(form))
            window = bridge.chosen_window(context, zone)
            as_of = date.fromisoformat(params["as_of"]) if params["as_of"] else window.end
            if as_of < window.end:
                raise AirflowFailException(
                    f"as_of {as_of} lies before the window's end {window.end}; choose a later day"
                )
            instant = bridge.as_of_day(as_of, zone)
            return {
                "start": window.start.isoformat(),
                "end": window.end.isoformat(),
                "as_of": instant,
                "run": bridge.run_name(bridge.instant(instant), run.run_id),
                "model_version": params["model_version"],
            }

        @task(outlets=[retrain])
        def request_retraining(decision: dict[str, Any], plan: dict[str, Any], **context: Any) -> Any:
            """Ask the training DAG for a new model, if the decision says so and the run may ask."""
            if decision["verdict"] != "RETRAIN":
                raise AirflowSkipException(f"the decision is {decision['verdict']}")
            asked = context["params"]["request_retraining"]
            if asked == "no" or (asked == "auto" and context["dag_run"].run_type == "backfill"):
                raise AirflowSkipException(f"the decision is RETRAIN, and request_retraining is {asked}")
            yield Metadata(retrain, {"as_of": plan["as_of"], "decision_id": decision["decision_id"]})

        planned, tasks = plan(), chained.Tasks(params_file, {"resolve_model": {"task_id": "find_model"}})
        given = {key: planned[key] for key in ("start", "end", "as_of", "run", "model_version")}
        chains.monitoring(tasks, {**given, "track": True})
        request_retraining(tasks.outputs["decide_retraining"], planned)
    return dag


globals().update(bridge.declared(build))
