"""Why a prediction was what it was."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pipelines.console import table
from pipelines.console.command import Answer, Arguments, Command, options
from pipelines.errors import MissingData

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.records import Prediction


def add(parser: argparse.ArgumentParser) -> None:
    options(parser)
    parser.add_argument("prediction_id", metavar="PREDICTION_ID")


def answer(arguments: Arguments, context: Context) -> Answer:
    """What one prediction rests on."""
    prediction_id = arguments["prediction_id"]
    log = context.predictions
    found = log.get([prediction_id])
    if not found:
        raise MissingData(f"no prediction has the id {prediction_id!r}; ids are in the answers of the model server")
    made = found[0]
    assigned = _assigned(made, context)

    def show() -> None:
        rows = [
            ("score", _told(made.score)),
            (
                "answered by",
                f"version {made.served}, of {', '.join(f'{v}: {_told(s)}' for v, s in made.scores.items())}",
            ),
            ("assigned to", _answered(made, assigned)),
            ("at", made.predicted_at.isoformat()),
            ("plan", f"{made.plan}, {made.share:.0%} of the traffic to the challenger"),
            ("split by", made.entity),
            ("block", made.block.isoformat()),
            *((f"failed: {version}", what) for version, what in made.errors.items()),
            *((f"sent: {name}", _told(value)) for name, value in made.request.items()),
        ]
        table.show(("", ""), rows, f"prediction {prediction_id}")
        values = [(name, _told(value), _age(made.ages.get(name))) for name, value in made.features.items()]
        table.show(("feature", "value", "known for"), values, "what the versions read")

    return {**vars(made), "assigned": assigned}, show


def _assigned(made: Prediction, context: Context) -> str | None:
    """The version that the plan of the prediction assigned its entity to; None where there is no such plan."""
    from pipelines.traffic import serves_challenger

    plan = context.plans.get(made.plan)
    if plan is None:
        return None
    return (
        plan.challenger
        if plan.challenger and serves_challenger(plan.rollout, made.entity, plan.share)
        else plan.champion
    )


def _answered(made: Prediction, assigned: str | None) -> str:
    """Who was to answer, and why another version did."""
    if assigned is None:
        return f"unknown: there is no plan {made.plan}"
    if assigned == made.served:
        return f"version {assigned}, by the plan"
    if assigned in made.errors or made.scores.get(assigned) is None:
        return f"version {assigned}, by the plan; it failed and version {made.served} stood in"
    return f"version {assigned}, by the plan; it did not fail, so version {made.served} should not have answered"


def _told(value: Any) -> str:
    return "missing" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _age(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


COMMAND = Command("explain", "Show what a prediction rests on: values, their ages, versions, scores.", add, answer)
