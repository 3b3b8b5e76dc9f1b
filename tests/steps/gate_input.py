"""What a gate reads of one candidate: where it lies, and how tests change it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from pipelines.artifacts.card import ModelCard
from pipelines.artifacts.evaluation import Evaluation
from pipelines.artifacts.manifest import Manifest
from pipelines.configuration import load_params
from pipelines.context import Context
from pipelines.steps import execute
from pipelines.verdict import Gate, Verdict
from tests.conftest import ROOT, TOY
from tests.editing import rewrite
from tests.synthetic import AS_OF

RULES = {name: load_params(path).gate for name, path in (("flights", ROOT / "params.yaml"), ("toy", TOY))}
Values = dict[str, Any]


def evaluation_uri(context: Context) -> str:
    return context.data.uri("evaluations", "new", "hist_gradient_boosting")


def gate(context: Context, **changes: Any) -> dict[str, Any]:
    champion = context.data.uri("models", "old", "hist_gradient_boosting")
    given = {"evaluation_uris": [evaluation_uri(context)], "champion_uri": champion, "as_of": AS_OF.isoformat()}
    return execute("gate", {**given, "run": "new", **changes}, context)


def only(context: Context, metric: str, where: str) -> Context:
    """The context with only this gate of params.yaml, and a gate that always passes in the other list."""
    gates = [g for rules in RULES.values() for g in (*rules.floors, *rules.against_champion) if g.metric == metric]
    wide = Gate(metric="log_loss", direction="at_most", threshold=9.0)
    delta = Gate(metric="log_loss_delta", direction="at_most", threshold=9.0)
    floors, against = (gates[:1], (delta,)) if where == "floors" else ((wide,), gates[:1])
    rules = context.params.gate.model_copy(update={"floors": tuple(floors), "against_champion": tuple(against)})
    return Context(context.settings, context.params.model_copy(update={"gate": rules}), context.usecase)


def metrics_of(context: Context) -> str:
    return Evaluation.place(evaluation_uri(context))


def manifest_of(context: Context) -> str:
    return Manifest.place(context.data.uri("training_sets", "new"))


def edit_scored(context: Context, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Change the scored rows, and their digest in the evaluation."""
    uri = evaluation_uri(context)
    frame = change(pq.read_table(f"{uri}/scored.parquet").to_pandas())
    body = io.BytesIO()
    frame.to_parquet(body, index=False)
    Path(f"{uri}/scored.parquet").write_bytes(body.getvalue())
    digest = context.data.store.sha256(body.getvalue())
    rewrite(metrics_of(context), lambda e: e["sha256"].update({"scored.parquet": digest}))


def require_refusal(outputs: dict[str, Any], *words: str) -> None:
    assert outputs["verdict"] in (Verdict.HOLD, Verdict.REJECT)
    assert outputs["reasons"] and all(any(word in why for why in outputs["reasons"]) for word in words), outputs[
        "reasons"
    ]


def put(metric: str, value: Any, values: Values) -> None:
    values.pop(metric, None)
    if value != "absent":
        values[metric] = value


def in_crumbs(entries: list[Values]) -> list[Values]:
    """The same rows in slices that are too small to be ranked."""
    return [{**entry, "rows": 1, "ranked": True} for entry in entries for _ in range(entry["rows"])]


def with_windows(context: Context, **windows: list[str]) -> None:
    """The candidate as if its training set had had other windows."""
    rewrite(manifest_of(context), lambda m: m["windows"].update(windows))
    card = ModelCard.place(context.data.uri("models", "new", "hist_gradient_boosting"))
    rewrite(card, lambda c: c["training_set"]["windows"].update(windows))


def put_other(name: str, value: Any, manifest: Values) -> None:
    manifest[name] = {**manifest[name], "test": value} if isinstance(manifest[name], dict) else value
