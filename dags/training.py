"""The training DAG: a point-in-time training set, one model per family, a gate, and a registered version.

It starts weekly, when features are announced, when the monitoring DAG asks for a new model, or from its form (a day,
families, what they read, a tuning budget). It trains on what was known when that day began. The best candidate that
passes the gate is registered as `challenger`; the first one ever becomes `champion` too.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import chained
from airflow.sdk import DAG, AssetOrTimeSchedule, Metadata, Param, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

import bridge
from pipelines import chains
from pipelines.context import Context
from pipelines.instants import local_day
from pipelines.params.training import FAMILIES
from pipelines.usecase import inputs_of


def build(params_file: str, about: Context) -> DAG:
    usecase, zone, science = about.usecase, about.usecase.timezone, about.params.training
    inputs_of(usecase, about.params.features.service)  # or the form would have a default that it does not offer
    challenger = bridge.asset(usecase.name, "challenger")
    form = {
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
            about.params.features.service,
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

    schedule = AssetOrTimeSchedule(
        timetable=bridge.timetable(usecase, about.params.schedules.training),
        assets=bridge.asset(usecase.name, "features") | bridge.asset(usecase.name, "retrain"),
    )
    with bridge.dag(about, "training", "Train, evaluate, gate and register a model of", schedule, form, __doc__) as dag:

        @task
        def plan(triggering_asset_events: Any = None, **context: Any) -> dict[str, Any]:
            """As of when to train: the form's day, else the newest asset event's, else the end of the data interval."""
            run, params = context["dag_run"], context["params"]
            bridge.refuse_unknown(run.conf, list(form))
            event = bridge.newest_event(triggering_asset_events or {})
            if params["as_of"]:
                as_of = bridge.as_of_day(date.fromisoformat(params["as_of"]), zone)
            elif event:
                as_of = event["as_of"]
            elif run.data_interval_end is not None and run.data_interval_start != run.data_interval_end:
                as_of = bridge.as_of_day(local_day(run.data_interval_end, zone), zone)
            else:
                raise AirflowFailException("this run has no data interval; give as_of in the form")
            name = bridge.run_name(bridge.instant(as_of), run.run_id)
            asked = {key: params[key] for key in ("families", "feature_service", "trials", "seed")}
            return {"as_of": as_of, "run": name, **asked, "because": event or run.run_type}

        @task
        def families(plan: dict[str, Any]) -> list[str]:
            """Airflow maps over the result of a task, not over a part of one."""
            return list(plan["families"])

        @task(outlets=[challenger])
        def announce_challenger(registered: dict[str, Any], plan: dict[str, Any]) -> Any:
            """Tell the world of a new challenger; a rejected one is no news."""
            if not registered["registered"]:
                raise AirflowSkipException("the gate let no candidate pass: nothing was registered")
            told = {key: registered[key] for key in ("version", "change")}
            yield Metadata(challenger, {**told, "as_of": plan["as_of"]})

        options: dict[str, dict[str, Any]] = {
            "snapshot": {"pool": "dvc"},
            # One family at a time: each takes every core.
            "train": {"max_active_tis_per_dagrun": 1, "map_index_template": "{{ family }}"},
            "resolve_model": {"task_id": "find_champion"},
        }
        planned, tasks = plan(), chained.Tasks(params_file, options)
        given = {key: planned[key] for key in ("as_of", "run", "feature_service", "trials", "seed")}
        chains.training(tasks, {**given, "families": families(planned)})
        announce_challenger(tasks.outputs["register"], planned)
    return dag


globals().update(bridge.declared(build))
