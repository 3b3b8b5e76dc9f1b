"""What the tests of two candidates share: how they are trained, logged, held against the gate and registered."""

from __future__ import annotations

from typing import Any

from pipelines.context import Context
from pipelines.steps import execute
from tests.synthetic import AS_OF, write_training_set

TREES, NET = "hist_gradient_boosting", "mlp"


def candidates(context: Context, run: str, seed: int = 1, **changes: Any) -> tuple[str, list[str]]:
    """Both families, trained and evaluated."""
    uri = write_training_set(context, run, seed, **changes)
    shared = {"training_set_uri": uri, "run": run}
    trained = [execute("train", {**shared, "family": family}, context) for family in (TREES, NET)]
    outputs = [execute("evaluate", {**shared, "model_uri": model["model_uri"]}, context) for model in trained]
    return uri, [evaluation["evaluation_uri"] for evaluation in outputs]


def evaluations(context: Context, run: str = "r1") -> list[str]:
    return [context.data.uri("evaluations", run, family) for family in (TREES, NET)]


def gate(context: Context, run: str = "r1", champion: str | None = None, **changes: Any) -> dict[str, Any]:
    given = {"evaluation_uris": evaluations(context, run), "champion_uri": champion, "as_of": AS_OF.isoformat()}
    return execute("gate", {**given, "run": run, **changes}, context)


def log(context: Context, run: str = "r1") -> dict[str, str]:
    return dict(execute("log_candidates", {"evaluation_uris": evaluations(context, run)}, context)["runs"])


def register(context: Context, gated: dict[str, Any], run: str = "r1", **changes: Any) -> dict[str, Any]:
    given = {k: gated[k] for k in ("verdict", "decision_id", "model_uri", "evaluation_uri", "training_set_uri")}
    return execute("register", {**given, "runs": log(context, run), **changes}, context)


def with_rules(context: Context, **rules: Any) -> Context:
    """The same context with other gates."""
    from pipelines.params.gates import GateRules

    gates = GateRules.model_validate({**context.params.gate.model_dump(), **rules})
    return Context(context.settings, context.params.model_copy(update={"gate": gates}), context.usecase)
