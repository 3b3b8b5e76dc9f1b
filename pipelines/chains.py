"""The chains: the order of their steps, and what each step takes from the run and from the steps before it.

A chain is a function over `Steps`. `walk` runs its steps one after the other; the DAG files make an Airflow task of
each. A chain hands values on and never looks at them, so that a reference to a value serves as well: it has no `if`,
and a step that does not always run says so by `when`. An input that is None is not given to its step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

Given = Mapping[str, Any]  # what a run gives its chain, by name: days, instants, the run's name, choices of a form


class Steps(Protocol):
    """What goes along a chain."""

    def __call__(self, step: str, **inputs: Any) -> Any:
        """The outputs of a step, by name."""

    def each(self, step: str, over: Mapping[str, Any], **inputs: Any) -> Any:
        """One run of a step for each value of the list in `over`, by input; an output is the list of those of all."""

    def when(self, condition: Any, step: str, **inputs: Any) -> Any:
        """The outputs of a step that runs only if the condition holds."""

    def last(self, *outputs: Any) -> Any:
        """The last of these outputs whose step has run."""


Chain = Callable[[Steps, Given], None]
FEATURES = ("ingest", "validate", "build_features", "apply_features")  # what of `data` a training set rests on


def data(step: Steps, given: Given) -> None:
    """From the source to features that are versioned, validated, materialized and checked.

    The steps hand over through the store as well, so each waits for the one before.
    """
    window = {"start": given["start"], "end": given["end"]}
    ingested = step("ingest", **window)
    step("snapshot", **window, run=given["run"])
    # Days that changed since they were used are validated again, and features that rest on them are built again.
    step("validate", **window, since=ingested["validate_since"])
    stale = {"start": ingested["build_since"], "end": ingested["build_until"]}
    step("build_features", **stale)
    step("check_features", **stale)
    step("apply_features")
    step("materialize", as_of=given["as_of"])
    step("check_parity", as_of=given["as_of"])


def training(step: Steps, given: Given) -> None:
    """From features to a registered version: one model a family, and of those that pass the gate the best."""
    snapshot = step("snapshot", run=given["run"])
    training_set = step(
        "build_training_set",
        as_of=given["as_of"],
        data_version=snapshot["data_version"],
        run=given["run"],
        feature_service=given["feature_service"],
    )
    shared = {"training_set_uri": training_set["training_set_uri"], "run": given["run"]}
    budget = {"trials": given["trials"], "seed": given["seed"]}
    trained = step.each("train", {"family": given["families"]}, **shared, **budget)
    evaluated = step.each("evaluate", {"model_uri": trained["model_uri"]}, **shared)
    logged = step("log_candidates", evaluation_uris=evaluated["evaluation_uri"])
    champion = step("resolve_model", alias="champion")
    gated = step(
        "gate",
        evaluation_uris=evaluated["evaluation_uri"],
        champion_uri=champion["model_uri"],
        champion_sha256=champion["sha256"],
        as_of=given["as_of"],
        run=given["run"],
    )
    step(
        "register",
        verdict=gated["verdict"],
        decision_id=gated["decision_id"],
        model_uri=gated["model_uri"],
        evaluation_uri=gated["evaluation_uri"],
        training_set_uri=training_set["training_set_uri"],
        runs=logged["runs"],
    )


def monitoring(step: Steps, given: Given) -> None:
    """A window scored by a registered version and held against its labels, and whether to retrain."""
    window = {"start": given["start"], "end": given["end"], "as_of": given["as_of"]}
    model = step("resolve_model", alias="champion", version=given["model_version"], required=True)
    named = {"run": given["run"], "model_version": model["version"], "model_sha256": model["sha256"]}
    scored = step("score", **window, **named, model_uri=model["model_uri"])
    joined = step("join_outcomes", **window, run=given["run"], predictions_uri=scored["predictions_uri"])
    reported = step(
        "report_drift",
        **named,
        outcomes_uri=joined["outcomes_uri"],
        evaluation_uri=model["evaluation_uri"],
        as_of=given["as_of"],
        track=given["track"],
    )
    step("decide_retraining", **window, summary_uri=reported["summary_uri"], model_version=model["version"])


def deployment(step: Steps, given: Given) -> None:
    """From a challenger to a promotion or back; `stages` has the names of the ramp's stages.

    `judge_rollout` waits until it answers something other than HOLD. The first answer that no stage follows is the
    last, and says how the rollout ends.
    """
    change = {"version": given["version"], "change": given["change"], "actor": given["actor"]}
    started = step("start_rollout", **change, run=given["run"])
    rollout = {"rollout": started["rollout"]}
    step.when(started["proceed"], "preflight", **rollout, version=started["challenger"])
    answers = [started]
    for stage in given["stages"]:
        goes_on = step.last(*answers)["next_stage"]
        step.when(goes_on, "set_stage", **rollout, stage=stage)
        answers.append(step.when(goes_on, "judge_rollout", **rollout, stage=stage))
    answer = step.last(*answers)
    ending = {"action": answer["ending"], "reason": answer["reason"], "decision_id": answer["decision_id"]}
    step.when(started["proceed"], "finish_rollout", **rollout, **ending)


def override(step: Steps, given: Given) -> None:
    """A champion that a person sets."""
    step("reconcile_aliases")
