"""The data DAG: from the source to features that are versioned, validated, materialized and checked.

It starts on its schedule, from its form (a window), or by a backfill. A run takes the days of its form, else
those of its data interval. It starts a training only if `start_training` is on, so that a backfill starts none.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import chained
from airflow.sdk import DAG, Metadata, Param, chain, task
from airflow.sdk.exceptions import AirflowSkipException

import bridge
from data_docs import DataDocsLink
from pipelines import chains
from pipelines.context import Context
from pipelines.errors import InvalidInput
from pipelines.usecase import UseCase

log = logging.getLogger(__name__)
# Days of a backfill may overtake one another; a day whose previous day is missing is retried until it is there.
PATIENT: dict[str, Any] = {"retries": 20, "retry_delay": timedelta(seconds=15)}
OPTIONS = {  # of tasks, by step
    "snapshot": {"pool": "dvc"},
    "build_features": PATIENT,
    "apply_features": {"pool": "feast"},
    "materialize": {"pool": "feast", **PATIENT},
    "check_parity": {"pool": "feast"},
}


def form_params(usecase: UseCase) -> dict[str, Param]:
    return {
        **bridge.window_params(usecase),
        "start_training": Param(
            False,
            type="boolean",
            title="Start training",
            description="Announce the features when they are ready, which starts the training DAG.",
        ),
    }


def build(params_file: str, usecase_context: Context) -> DAG:
    usecase, calendar = usecase_context.usecase, usecase_context.calendar
    if usecase.feature_repo is not None and not usecase.feature_repo.is_dir():
        raise InvalidInput(
            f"feature_repo of {usecase.name} is {usecase.feature_repo}; name the folder of its declarations"
        )
    features = bridge.asset(usecase.name, "features")
    form = form_params(usecase)
    with bridge.dag(
        usecase_context,
        "data",
        "Ingest, snapshot, validate, build and materialize",
        bridge.timetable(usecase, usecase_context.params.schedules.data),
        form,
        __doc__,
    ) as dag:

        @task
        def plan(**context: Any) -> dict[str, Any]:
            """The window, from the form or the data interval, and a name for the records of this run."""
            run = context["dag_run"]
            bridge.refuse_unknown(run.conf, list(form))
            window = bridge.window_of_run(context, calendar)
            return {
                "start": window.start.isoformat(),
                "end": window.end.isoformat(),
                "as_of": window.end_at.isoformat(),
                "run": bridge.run_name(window.end_at, run.run_id),
            }

        @task(outlets=[features])
        def announce_features(
            plan: dict[str, Any], snapshot: dict[str, Any], parity: dict[str, Any], **context: Any
        ) -> Any:
            """Announce the features to the training DAG, if the run is set to and online and offline features agree."""
            if parity["verdict"] != "PASS":
                raise AirflowSkipException(f"parity is {parity['verdict']}: {parity['reasons'][0]}")
            if not context["params"]["start_training"]:
                raise AirflowSkipException("start_training is off: features are ready and not announced")
            yield Metadata(features, {**plan, "data_version": snapshot["data_version"]})

        window, tasks = plan(), chained.Tasks(params_file, OPTIONS)
        chains.data(tasks, {key: window[key] for key in ("start", "end", "as_of", "run")})
        outputs = tasks.outputs
        outputs["validate"].operator.operator_extra_links = (DataDocsLink(),)
        chain(*outputs.values(), announce_features(window, outputs["snapshot"], outputs["check_parity"]))
    return dag


globals().update(bridge.build_dags(build))
