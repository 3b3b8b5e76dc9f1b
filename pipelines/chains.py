"""The chains: the order of their steps, and the inputs of each step from the run and from earlier steps.

A chain is a function over `Steps`. `walk` runs its steps one after the other; the DAG files create an Airflow task for
each. A chain passes values on without reading them, so that they may be references to later values: it has no `if`, and
a conditional step is called by `when`. An input that is None is not passed to its step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

Values = Mapping[str, Any]  # inputs or outputs of a step, by name
RunInputs = Values  # the inputs of a run, by name: days, instants, the run's name, choices of a form


class Steps(Protocol):
    """What a chain calls: runs or declares its steps."""

    def __call__(self, step: str, **inputs: Any) -> Any:
        """The outputs of a step, by name."""

    def each(self, step: str, over: Values, **inputs: Any) -> Any:
        """One run of a step for each value of the list in `over`, by input; each output is the list over all runs."""

    def when(self, condition: Any, step: str, **inputs: Any) -> Any:
        """The outputs of a step that runs only if the condition holds."""

    def last(self, *outputs: Any) -> Any:
        """The last of these outputs whose step has run."""


Chain = Callable[[Steps, RunInputs], None]
FEATURES = ("ingest", "validate", "build_features", "apply_features")  # the steps of `data` that training sets need


def data(step: Steps, run: RunInputs) -> None:
    """From the source to features that are versioned, validated, materialized and checked.

    The steps also communicate through the store, so each waits for the one before.
    """
    window = {"start": run["start"], "end": run["end"]}
    ingestion = step("ingest", **window)
    step("snapshot", **window, run=run["run"])
    # Days that changed since they were last used are validated again, and features that depend on them rebuilt.
    step("validate", **window, since=ingestion["validate_since"])
    stale = {"start": ingestion["build_since"], "end": ingestion["build_until"]}
    step("build_features", **stale)
    step("check_features", **stale)
    step("apply_features")
    step("materialize", as_of=run["as_of"])
    step("check_parity", as_of=run["as_of"])


def training(step: Steps, run: RunInputs) -> None:
    """From features to a registered version: one model for each family; the best that passes the gate is registered."""
    snapshot = step("snapshot", run=run["run"])
    training_set = step(
        "build_training_set",
        as_of=run["as_of"],
        data_version=snapshot["data_version"],
        run=run["run"],
        feature_service=run["feature_service"],
    )
    shared = {"training_set_uri": training_set["training_set_uri"], "run": run["run"]}
    budget = {"trials": run["trials"], "seed": run["seed"]}
    models = step.each("train", {"family": run["families"]}, **shared, **budget)
    evaluations = step.each("evaluate", {"model_uri": models["model_uri"]}, **shared)
    tracking = step("log_candidates", evaluation_uris=evaluations["evaluation_uri"])
    champion = step("resolve_model", alias="champion")
    decision = step(
        "gate",
        evaluation_uris=evaluations["evaluation_uri"],
        champion_uri=champion["model_uri"],
        champion_sha256=champion["sha256"],
        as_of=run["as_of"],
        run=run["run"],
    )
    step(
        "register",
        verdict=decision["verdict"],
        decision_id=decision["decision_id"],
        model_uri=decision["model_uri"],
        evaluation_uri=decision["evaluation_uri"],
        training_set_uri=training_set["training_set_uri"],
        runs=tracking["runs"],
    )


def monitoring(step: Steps, run: RunInputs) -> None:
    """A window scored by a registered version and compared with its labels, and the decision whether to retrain."""
    window = {"start": run["start"], "end": run["end"], "as_of": run["as_of"]}
    model = step("resolve_model", alias="champion", version=run["model_version"], required=True)
    model_run = {"run": run["run"], "model_version": model["version"], "model_sha256": model["sha256"]}
    predictions = step("score", **window, **model_run, model_uri=model["model_uri"])
    outcomes = step("join_outcomes", **window, run=run["run"], predictions_uri=predictions["predictions_uri"])
    drift = step(
        "report_drift",
        **window,
        **model_run,
        outcomes_uri=outcomes["outcomes_uri"],
        evaluation_uri=model["evaluation_uri"],
        track=run["track"],
    )
    step("decide_retraining", **window, summary_uri=drift["summary_uri"], model_version=model["version"])


def deployment(step: Steps, run: RunInputs) -> None:
    """From a challenger to its promotion or rollback; `stages` has the names of the ramp's stages.

    `judge_rollout` waits for a verdict other than HOLD. The first output without a next stage says how the rollout
    ends.
    """
    change = {"version": run["version"], "change": run["change"], "actor": run["actor"]}
    start = step("start_rollout", **change, run=run["run"])
    rollout = {"rollout": start["rollout"]}
    step.when(start["proceed"], "preflight", **rollout, version=start["challenger"])
    answers = [start]
    for stage in run["stages"]:
        goes_on = step.last(*answers)["next_stage"]
        step.when(goes_on, "set_stage", **rollout, stage=stage)
        answers.append(step.when(goes_on, "judge_rollout", **rollout, stage=stage))
    answer = step.last(*answers)
    ending = {"action": answer["ending"], "reason": answer["reason"], "decision_id": answer["decision_id"]}
    step.when(start["proceed"], "finish_rollout", **rollout, **ending)


def override(step: Steps, run: RunInputs) -> None:
    """A person has set the champion: the records follow."""
    step("reconcile_aliases")
