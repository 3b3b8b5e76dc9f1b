"""The training DAG: a point-in-time training set, one model for each family, a gate, and a registered version.

It starts on its schedule, when features are announced, when the monitoring DAG requests a new model, or from its form
(a day, families, a feature service, a tuning budget). It trains on the data that were known when that day began. The
best candidate that passes the gate is registered as `challenger`; the first one ever also becomes `champion`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import chained
from airflow.sdk import DAG, AssetOrTimeSchedule, Metadata, Param, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

import bridge
from pipelines import chains
from pipelines.context import Context
from pipelines.instants import local_day
from pipelines.params import Params
from pipelines.params.training import FAMILIES
from pipelines.usecase import UseCase, inputs_of

OPTIONS: dict[str, dict[str, Any]] = {  # of tasks, by step
    "snapshot": {"pool": "dvc"},
    # one family at a time: each takes every core
    "train": {"max_active_tis_per_dagrun": 1, "map_index_template": "{{ family }}"},
    "resolve_model": {"task_id": "find_champion"},
}


def form_params(usecase: UseCase, params: Params) -> dict[str, Param]:
    science, service = params.training, params.features.service
    inputs_of(usecase, service)  # refused here, or the default of the form might not be among its options
    return {
        "as_of": Param(
            None,
            **bridge.DAY_PARAM,
            title="As of",
            description="Train on what was known when this local day began. Empty: from the event or the schedule.",
        ),
        "families": Param(
            list(science.families),
            type="array",
            items={"type": "string", "enum": list(FAMILIES)},
            examples=list(FAMILIES),
            minItems=1,
            uniqueItems=True,
            title="Families",
            description="Model families to train; the best that passes the gate is registered.",
        ),
        "feature_service": Param(
            service,
            type="string",
            enum=list(usecase.model_inputs),
            title="Feature service",
            description="What the models read. The champion may read another one.",
        ),
        "trials": Param(
            science.trials,
            type="integer",
            minimum=1,
            maximum=200,
            title="Trials",
            description="Tuning budget per family. The first trial takes the values of params.yaml.",
        ),
        "seed": Param(science.seed, type="integer", minimum=0, title="Seed", description="Seed of every random draw."),
    }


def build(params_file: str, usecase_context: Context) -> DAG:
    usecase, zone = usecase_context.usecase, usecase_context.usecase.timezone
    challenger = bridge.asset(usecase.name, "challenger")
    form = form_params(usecase, usecase_context.params)
    schedule = AssetOrTimeSchedule(
        timetable=bridge.timetable(usecase, usecase_context.params.schedules.training),
        assets=bridge.asset(usecase.name, "features") | bridge.asset(usecase.name, "retrain"),
    )
    with bridge.dag(
        usecase_context, "training", "Train, evaluate, gate and register a model of", schedule, form, __doc__
    ) as dag:

        @task
        def plan(triggering_asset_events: Any = None, **context: Any) -> dict[str, Any]:
            """As of when to train: the form's day, else the newest asset event's, else the end of the data interval."""
            run, params = context["dag_run"], context["params"]
            bridge.refuse_unknown(run.conf, list(form))
            event = bridge.newest_event(triggering_asset_events or {})
            as_of = instant_of_run(params["as_of"], event, run, zone)
            name = bridge.run_name(bridge.instant(as_of), run.run_id)
            form_values = {key: params[key] for key in ("families", "feature_service", "trials", "seed")}
            return {"as_of": as_of, "run": name, **form_values, "because": event or run.run_type}

        @task
        def families(plan: dict[str, Any]) -> list[str]:
            """The families, since Airflow maps over the result of a task, not over a part of it."""
            return list(plan["families"])

        @task(outlets=[challenger])
        def announce_challenger(registration: dict[str, Any], plan: dict[str, Any]) -> Any:
            """Announce a new challenger, if the gate passed one."""
            if not registration["registered"]:
                raise AirflowSkipException("the gate passed no candidate: nothing was registered")
            version = {key: registration[key] for key in ("version", "change")}
            yield Metadata(challenger, {**version, "as_of": plan["as_of"]})

        run_plan, tasks = plan(), chained.Tasks(params_file, OPTIONS)
        inputs = {key: run_plan[key] for key in ("as_of", "run", "feature_service", "trials", "seed")}
        chains.training(tasks, {**inputs, "families": families(run_plan)})
        announce_challenger(tasks.outputs["register"], run_plan)
    return dag


def instant_of_run(form_day: str | None, event: Mapping[str, Any] | None, run: Any, zone: str) -> str:
    """As of when a run trains: the form's day, else the asset event's instant, else the end of the data interval.

    Raises:
        AirflowFailException: if the run has none of them.
    """
    if form_day:
        return bridge.as_of_day(date.fromisoformat(form_day), zone)
    if event:
        announced: str = event["as_of"]
        return announced
    if run.data_interval_end is not None and run.data_interval_start != run.data_interval_end:
        return bridge.as_of_day(local_day(run.data_interval_end, zone), zone)
    raise AirflowFailException("this run has no data interval; give as_of in the form")


globals().update(bridge.build_dags(build))
