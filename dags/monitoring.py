"""The monitoring DAG: score a window, join the labels that matured, report drift, decide whether to retrain.

It starts on its schedule, from its form (a window of days, a model version), or by a backfill. The window of a
scheduled run lies before its interval by the days that labels take (`monitoring.lag_days`), so that they have matured.
Scores are computed from the features that were known at each prediction; a label counts if its whole maturity had
passed by `as_of`. If the decision is RETRAIN, a new model is requested from the training DAG.
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
from pipelines.usecase import UseCase


def form_params(usecase: UseCase, lag_days: int) -> dict[str, Param]:
    return {
        **bridge.window_params(usecase),
        "as_of": Param(
            None,
            **bridge.DAY_PARAM,
            title="As of",
            description="Use labels known when this local day began. Empty: "
            f"{lag_days} days after the window's end, when they have matured.",
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


def build(params_file: str, usecase_context: Context) -> DAG:
    usecase, calendar = usecase_context.usecase, usecase_context.calendar
    lag_days = usecase_context.params.monitoring.lag_days
    retrain = bridge.asset(usecase.name, "retrain")
    form = form_params(usecase, lag_days)
    with bridge.dag(
        usecase_context,
        "monitoring",
        "Watch performance and drift, and decide whether to retrain, the model of",
        bridge.timetable(usecase, usecase_context.params.schedules.monitoring),
        form,
        __doc__,
    ) as dag:

        @task
        def plan(**context: Any) -> dict[str, Any]:
            """The window, and the instant by which its labels must be known."""
            run, params = context["dag_run"], context["params"]
            bridge.refuse_unknown(run.conf, list(form))
            window, as_of = bridge.lagging_window(context, usecase, lag_days)
            as_of = calendar.first_of(date.fromisoformat(params["as_of"])) if params["as_of"] else as_of
            if as_of < window.end:
                raise AirflowFailException(
                    f"as_of {as_of} lies before the window's end {window.end}; choose a later day"
                )
            instant = calendar.start_at(as_of).isoformat()
            return {
                "start": window.start.isoformat(),
                "end": window.end.isoformat(),
                "as_of": instant,
                "run": bridge.run_name(bridge.instant(instant), run.run_id),
                "model_version": params["model_version"],
            }

        @task(outlets=[retrain])
        def request_retraining(decision: dict[str, Any], plan: dict[str, Any], **context: Any) -> Any:
            """Request a new model from the training DAG, if the decision says so and the run is allowed to."""
            if decision["verdict"] != "RETRAIN":
                raise AirflowSkipException(f"the decision is {decision['verdict']}")
            requested = context["params"]["request_retraining"]
            if requested == "no" or (requested == "auto" and context["dag_run"].run_type == "backfill"):
                raise AirflowSkipException(f"the decision is RETRAIN, and request_retraining is {requested}")
            yield Metadata(retrain, {"as_of": plan["as_of"], "decision_id": decision["decision_id"]})

        window, tasks = plan(), chained.Tasks(params_file, {"resolve_model": {"task_id": "find_model"}})
        inputs = {key: window[key] for key in ("start", "end", "as_of", "run", "model_version")}
        chains.monitoring(tasks, {**inputs, "track": True})
        request_retraining(tasks.outputs["decide_retraining"], window)
    return dag


globals().update(bridge.build_dags(build))
