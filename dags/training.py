"""The training DAG: a point-in-time training set, one model a family, a gate, and a registered version."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from airflow.sdk import DAG, AssetOrTimeSchedule, CronDataIntervalTimetable, Metadata, Param, chain, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

import bridge
from pipelines.context import Context
from pipelines.params import FAMILIES


def build(params_file: str, about: Context) -> DAG:
    usecase, zone, science = about.usecase, about.usecase.timezone, about.params.training
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
        "trials": Param(
            science.trials,
            type="integer",
            minimum=1,
            maximum=200,
            title="Trials",
            description="Tuning budget a family. The first trial takes the values of params.yaml.",
        ),
        "seed": Param(science.seed, type="integer", minimum=0, title="Seed", description="Seed of every random draw."),
    }

    with DAG(
        dag_id=f"{usecase.name}_training",
        description=f"Train, evaluate, gate and register a model of {usecase.name}.",
        schedule=AssetOrTimeSchedule(
            timetable=CronDataIntervalTimetable(about.params.schedules.training, timezone=zone),
            assets=bridge.asset(usecase.name, "features") | bridge.asset(usecase.name, "retrain"),
        ),
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
                as_of = bridge.as_of_day(bridge.local_day(run.data_interval_end, zone), zone)
            else:
                raise AirflowFailException("this run has no data interval; give as_of in the form")
            name = bridge.run_name(bridge.instant(as_of), run.run_id)
            return {"as_of": as_of, "run": name, "families": list(params["families"]), "because": event or run.run_type}

        planned = plan()
        snapshot = bridge.step("snapshot", params_file, {}, pool="dvc")
        training_set = bridge.step(
            "build_training_set",
            params_file,
            {"as_of": planned["as_of"], "data_version": snapshot["data_version"], "run": planned["run"]},
        )

        @task
        def lay_out(plan: dict[str, Any], training_set: dict[str, Any], **context: Any) -> list[dict[str, Any]]:
            """One set of inputs a family."""
            shared = {"training_set_uri": training_set["training_set_uri"], "run": plan["run"]}
            budget = {"trials": context["params"]["trials"], "seed": context["params"]["seed"]}
            return [{**shared, **budget, "family": family} for family in plan["families"]]

        @task
        def line_up(plan: dict[str, Any], training_set: dict[str, Any], trained: list[dict[str, Any]]) -> list[Any]:
            """One set of inputs a trained model."""
            shared = {"training_set_uri": training_set["training_set_uri"], "run": plan["run"]}
            return [{**shared, "model_uri": model["model_uri"]} for model in trained]

        @task
        def candidates(evaluated: list[dict[str, Any]]) -> list[str]:
            return [evaluation["evaluation_uri"] for evaluation in evaluated]

        trained = bridge.step_task("train", params_file, max_active_tis_per_dagrun=1).expand(
            inputs=lay_out(planned, training_set)
        )
        evaluated = bridge.step_task("evaluate", params_file).expand(inputs=line_up(planned, training_set, trained))
        evaluations = candidates(evaluated)
        champion = bridge.step("resolve_model", params_file, {"alias": "champion"}, task_id="find_champion")
        gated = bridge.step(
            "gate",
            params_file,
            {
                "evaluation_uris": evaluations,
                "champion_uri": champion["model_uri"],
                "as_of": planned["as_of"],
                "run": planned["run"],
            },
        )
        registered = bridge.step(
            "register",
            params_file,
            {
                "verdict": gated["verdict"],
                "decision_id": gated["decision_id"],
                "model_uri": gated["model_uri"],
                "evaluation_uri": gated["evaluation_uri"],
                "training_set_uri": training_set["training_set_uri"],
                "evaluation_uris": evaluations,
            },
        )

        @task(outlets=[challenger])
        def announce(registered: dict[str, Any], plan: dict[str, Any]) -> Any:
            """Tell the world of a new challenger; a rejected one is no news."""
            if not registered["registered"]:
                raise AirflowSkipException("the gate let no candidate pass: nothing was registered")
            yield Metadata(challenger, {"version": registered["version"], "as_of": plan["as_of"]})

        chain(planned, snapshot)
        announce(registered, planned)
    return dag


for file, found in bridge.contexts():
    globals()[f"{found.usecase.name}_training"] = build(file, found)
