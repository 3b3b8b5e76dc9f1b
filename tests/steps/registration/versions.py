"""What the tests of registered versions share: a candidate that has passed, its registration, and the ledger."""

from __future__ import annotations

from typing import Any

from pipelines.context import Context
from pipelines.records import Entry
from pipelines.steps import execute
from tests.synthetic import AS_OF

FAMILY = "logistic_regression"
TAUGHT = {FAMILY: {"distil": {"teacher": "mlp", "temperature": 2.0, "alpha": 0.5}}}


def passed(context: Context, run: str = "r1") -> dict[str, Any]:
    """What `register` is given of a candidate that was logged and has passed the gate."""
    evaluation = context.data.uri("evaluations", run, FAMILY)
    runs = execute("log_candidates", {"evaluation_uris": [evaluation]}, context)["runs"]
    asked = {"evaluation_uris": [evaluation], "champion_uri": None, "as_of": AS_OF.isoformat(), "run": run}
    gated = execute("gate", asked, context)
    given = {k: gated[k] for k in ("verdict", "decision_id", "model_uri", "evaluation_uri", "training_set_uri")}
    return {**given, "runs": runs}


def register(context: Context, run: str = "r1") -> dict[str, Any]:
    return execute("register", passed(context, run), context)


def ledger(context: Context) -> list[Entry]:
    return context.ledger.entries(aliases=True)
