"""Shared by the tests of registered versions: inputs of `register`, a registration, and the ledger."""

from __future__ import annotations

from typing import Any

from pipelines import chains
from pipelines.context import Context
from pipelines.records import Entry
from pipelines.steps import execute
from pipelines.walk import walk
from tests.synthetic import AS_OF

FAMILY = "logistic_regression"
TAUGHT = {FAMILY: {"distil": {"teacher": "mlp", "temperature": 2.0, "alpha": 0.5}}}


def register_inputs(context: Context, run: str = "r1") -> dict[str, Any]:
    """The inputs of `register` for a candidate that was logged and has passed the gate."""
    given: dict[str, Any] = {}

    def run_step(step: str, inputs: dict[str, Any]) -> dict[str, Any]:
        if step == "register":
            given.update(inputs)
            return {}
        return execute(step, inputs, context)

    known = {
        "build_training_set": {"training_set_uri": context.data.uri("training_sets", run)},
        "evaluate": [{"evaluation_uri": context.data.uri("evaluations", run, FAMILY)}],
        "resolve_model": {"model_uri": None, "sha256": None},  # no champion to compare with
    }
    steps = ("log_candidates", "gate", "register")
    walk(chains.training, {"as_of": AS_OF.isoformat(), "run": run}, run_step, only=steps, previous=known)
    return given


def register(context: Context, run: str = "r1") -> dict[str, Any]:
    return execute("register", register_inputs(context, run), context)


def ledger(context: Context) -> list[Entry]:
    return context.ledger.entries(aliases=True)
