"""The lineage of a run or a version: parameters, metrics and tags, and the checks that they fit together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pipelines.artifacts.card import ModelCard
from pipelines.artifacts.evaluation import Evaluation
from pipelines.artifacts.model import Model
from pipelines.artifacts.provenance import Provenance
from pipelines.errors import InvalidInput
from pipelines.json_text import JsonObject
from pipelines.records import DecisionKind

LOGGED = ("git_commit", "git_dirty", "environment_hash", "python", "params_hash")  # tags of a run that its version has
NEEDED = ("numpy", "onnxruntime", "pandas")  # to load a logged model


def run_params(card: ModelCard) -> dict[str, Any]:
    """Parameters of a candidate's run."""
    after_the_fit = {"calibration": card.calibration.method, "threshold": card.threshold.value}
    return {"family": card.family, "seed": card.seed, **after_the_fit, **card.params}


def run_metrics(evaluation: Evaluation) -> dict[str, float | None]:
    """Metrics of a candidate's run, with the ends of their intervals as METRIC_low and METRIC_high.

    The shares of values that cleaning changed are added as WHAT_share_WINDOW.
    """
    ends = {
        f"{name}_{end}": value
        for name, interval in evaluation.intervals.items()
        for end, value in zip(("low", "high"), interval, strict=True)
    }
    cleaning = {
        f"{what}_{window}": share
        for window, shares in evaluation.cleaning.items()
        for what, share in shares.items()
        if what != "rows"
    }
    return {**evaluation.metrics, **ends, **cleaning}


def data_tags(evaluation_uri: str, evaluation: Evaluation, model: Model) -> dict[str, str]:
    """Which data a model comes from, and where its files lie."""
    training = model.card.training_set
    return {
        "family": model.card.family,
        "sha256": model.sha256,
        "model_uri": model.uri,
        "evaluation_uri": evaluation_uri,
        "training_set_uri": evaluation.training_set_uri,
        "data_version": training.data_version,
        "feature_service": training.feature_service,
        "registry_hash": training.registry_hash,
        "as_of": training.as_of.isoformat(),
    }


def origin_tags(provenance: Provenance, card: ModelCard) -> dict[str, str]:
    """Tags LOGGED of how a model was made."""
    return {
        **provenance.code,
        "environment_hash": provenance.environment_hash,
        "python": provenance.python,
        "params_hash": digest(science(provenance.params, card)),
    }


def science(params: Mapping[str, Any], card: ModelCard) -> dict[str, Any]:
    """Everything in params and card that determines a model: settings, training, cleaning, splits, feature service."""
    training, family = params["training"], card.family
    compression = training["compression"].get(family)
    teacher = ((compression or {}).get("distil") or {}).get("teacher")
    lesson = None  # where the teacher is a model's folder or there is none; a family teaches with declared settings
    if teacher in training:
        settings = {name: value for name, value in training[teacher].items() if name != "search"}
        lesson = {"settings": settings, "compression": training["compression"].get(teacher)}
    return {
        "family": family,
        "settings": card.params,
        "seed": card.seed,
        "calibration": training["calibration"],
        "refit": training["refit"],
        "compression": compression,
        "teacher": lesson,
        "costs": params["costs"],
        "cleaning": params["cleaning"],
        "splits": params["splits"],
        "feature_service": card.training_set.feature_service,
        "as_of": card.training_set.as_of.isoformat(),
    }


def digest(value: Any) -> str:
    """sha256 of a JSON-able value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def require_together(evaluation: Evaluation, model: Model, model_uri: str | None, training_set_uri: str) -> None:
    """Refuse an evaluation of another model, or of a model from another training set.

    Raises:
        InvalidInput: naming the evaluation's own.
    """
    for what, argument, recorded in (
        ("model", model_uri, model.uri),
        ("training set", training_set_uri, evaluation.training_set_uri),
    ):
        if (argument or "").rstrip("/") != recorded.rstrip("/"):
            raise InvalidInput(f"the evaluation is of the {what} {recorded}, not {argument}; give the gate's")


def require_authority(decision: JsonObject | None, decision_id: str, model: Model) -> JsonObject:
    """The recorded gate decision, if it passed exactly this model; without one no model is registered.

    Raises:
        InvalidInput: naming what the decision says instead.
    """
    if decision is None or decision["kind"] != DecisionKind.GATE:
        raise InvalidInput(f"decision {decision_id!r} is not a recorded gate decision; run the gate first")
    if decision["verdict"] != "PASS":
        raise InvalidInput(
            f"decision {decision_id} is {decision['verdict']}, not PASS; nothing may be registered on it"
        )
    choice = decision["evidence"].get("chosen") or {}
    if (choice.get("model_uri"), choice.get("sha256")) != (model.uri, model.sha256):
        raise InvalidInput(f"decision {decision_id} passed {choice.get('model_uri')}, not {model.uri} as it is now")
    return decision
