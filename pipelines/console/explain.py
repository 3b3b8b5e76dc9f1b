"""Explain a prediction: its score, and the values and versions behind it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pipelines.console import table
from pipelines.console.command import Answer, Arguments, Command, options
from pipelines.errors import MissingData

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.records import Prediction


LACKS = {"store": "all stored features: the store did not answer", "stale": "stored features that were too old"}


def add(parser: argparse.ArgumentParser) -> None:
    options(parser)
    parser.add_argument("prediction_id", metavar="PREDICTION_ID")


def answer(arguments: Arguments, context: Context) -> Answer:
    """The versions, scores and values of one prediction."""
    prediction_id = arguments["prediction_id"]
    log = context.predictions
    predictions = log.get([prediction_id])
    if not predictions:
        raise MissingData(f"no prediction has the id {prediction_id!r}; ids are in the answers of the model server")
    prediction = predictions[0]
    assigned_version = _assigned_version(prediction, context)
    complete_until = min((writer.watermark for writer in context.writers.active()), default=None)

    def show() -> None:
        rows = [
            ("score", _format(prediction.score)),
            *((f"further: {name}", _format(value)) for name, value in (prediction.further or {}).items()),
            ("decision", {True: "alarm", False: "no alarm", None: "not kept"}[prediction.decision]),
            *((("went without", LACKS[prediction.lacks]),) if prediction.lacks else ()),
            (
                "answered by",
                f"version {prediction.served}, of "
                + ", ".join(f"{version}: {_format(score)}" for version, score in prediction.scores.items()),
            ),
            ("assigned to", _describe_assignment(prediction, assigned_version)),
            ("at", prediction.predicted_at.isoformat()),
            ("plan", f"{prediction.plan}, {prediction.share:.0%} of the traffic to the challenger"),
            ("split by", prediction.entity),
            ("block", f"{prediction.block}, closes at {prediction.closes_at.isoformat()}"),
            *((("log", f"complete until {complete_until.isoformat()}"),) if complete_until else ()),
            *((f"failed: {version}", what) for version, what in prediction.errors.items()),
            *((f"sent: {name}", _format(value)) for name, value in prediction.request.items()),
        ]
        table.show(("", ""), rows, f"prediction {prediction_id}")
        values = [
            (name, _format(value), _age(prediction.ages.get(name))) for name, value in prediction.features.items()
        ]
        table.show(("feature", "value", "known for"), values, "what the versions read")

    return {**vars(prediction), "assigned": assigned_version, "log_complete_until": complete_until}, show


def _assigned_version(prediction: Prediction, context: Context) -> str | None:
    """The version that the plan of the prediction assigned its entity to; None where there is no such plan."""
    from pipelines.traffic import serves_challenger

    plan = context.plans.get(prediction.plan)
    if plan is None:
        return None
    return (
        plan.challenger
        if plan.challenger and serves_challenger(plan.rollout, prediction.entity, plan.share)
        else plan.champion
    )


def _describe_assignment(prediction: Prediction, version: str | None) -> str:
    """The assigned version, and why another one answered if one did."""
    if version is None:
        return f"unknown: there is no plan {prediction.plan}"
    if version == prediction.served:
        return f"version {version}, by the plan"
    if version in prediction.errors or prediction.scores.get(version) is None:
        return f"version {version}, by the plan; it failed, so version {prediction.served} answered"
    return f"version {version}, by the plan; it did not fail, so version {prediction.served} should not have answered"


def _format(value: Any) -> str:
    return "missing" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _age(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


COMMAND = Command("explain", "Explain a prediction: values, their ages, versions, scores.", add, answer)
