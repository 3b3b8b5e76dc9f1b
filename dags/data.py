"""The data DAG: from the source to features that are versioned, validated, materialized and checked."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from airflow.sdk import DAG, CronDataIntervalTimetable, Metadata, Param, chain, task
from airflow.sdk.exceptions import AirflowSkipException

import bridge
from pipelines.context import Context

log = logging.getLogger(__name__)


def build(params_file: str, about: Context) -> DAG:
    usecase, zone = about.usecase, about.usecase.timezone
    features = bridge.asset(usecase.name, "features")
    form = {
        **bridge.window_params(usecase.name),
        "start_training": Param(
            False,
            type="boolean",
            title="Start training",
            description="Announce the features, which starts the training DAG. Off for scheduled runs and backfills.",
        ),
    }

    with DAG(
        dag_id=f"{usecase.name}_data",
        description=f"Ingest, snapshot, validate, build and materialize {usecase.name}.",
        schedule=CronDataIntervalTimetable(about.params.schedules.data, timezone=zone),
        start_date=datetime.combine(usecase.start, datetime.min.time(), ZoneInfo(zone)),
        end_date=datetime.combine(usecase.end, datetime.min.time(), ZoneInfo(zone)),
        catchup=False,
        max_active_runs=1,
        params=form,
        tags=[usecase.name],
        doc_md=__doc__,
        default_args=bridge.DEFAULTS,
    ) as dag:

        @task
        def plan(**context: Any) -> dict[str, Any]:
            """The window: the form's, or the data interval's."""
            bridge.refuse_unknown(context["dag_run"].conf, list(form))
            window = bridge.chosen_window(context, zone)
            return {
                "start": window.start.isoformat(),
                "end": window.end.isoformat(),
                "as_of": window.end_at.isoformat(),
            }

        @task(outlets=[features])
        def announce(plan: dict[str, Any], snapshot: dict[str, Any], **context: Any) -> Any:
            """Tell the training DAG, if the run was asked to."""
            if not context["params"]["start_training"]:
                raise AirflowSkipException("start_training is off: features are ready, nobody is told")
            yield Metadata(features, {**plan, "data_version": snapshot["data_version"]})

        planned = plan()
        window = {"start": planned["start"], "end": planned["end"]}
        ingested = bridge.step("ingest", params_file, window)
        snapshot = bridge.step("snapshot", params_file, {}, pool="dvc")
        validated = bridge.step("validate", params_file, window)
        # Days of a backfill may overtake one another; one that lacks the day before it tries again until that is there.
        patient = {"retries": 20, "retry_delay": timedelta(seconds=15)}
        built = bridge.step("build_features", params_file, window, **patient)
        applied = bridge.step("apply_features", params_file, {}, pool="feast")
        materialized = bridge.step("materialize", params_file, {"as_of": planned["as_of"]}, pool="feast", **patient)
        checked = bridge.step("check_parity", params_file, {"as_of": planned["as_of"]}, pool="feast")
        chain(ingested, snapshot, validated, built, applied, materialized, checked, announce(planned, snapshot))
    return dag


for file, found in bridge.contexts():
    globals()[f"{found.usecase.name}_data"] = build(file, found)
