"""What a run or a version says about its origins."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pipelines.errors import InvalidInput
from pipelines.provenance import environment_hash
from pipelines.records import DecisionKind
from pipelines.scorer import Model

PARAMS, ENVIRONMENT = "params.json", "environment.txt"  # files of a candidate's run
LOGGED = ("git_commit", "git_dirty", "environment_hash", "python", "params_hash")  # tags of a run that its version has
NEEDED = ("numpy", "onnxruntime", "pandas")  # by whoever loads a logged model


def run_params(card: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a candidate's run."""
    made = {"calibration": card["calibration"]["method"], "threshold": card["threshold"]["value"]}
    return {"family": card["family"], "seed": card["seed"], **made, **card["params"]}


def run_metrics(evaluation: Mapping[str, Any]) -> dict[str, float | None]:
    """Metrics of a candidate's run, with the ends of their intervals as METRIC_low and METRIC_high.

    What cleaning changed stands beside them, as WHAT_share_WINDOW.
    """
    ends = {
        f"{name}_{end}": value
        for name, interval in evaluation.get("intervals", {}).items()
        for end, value in zip(("low", "high"), interval, strict=True)
    }
    cleaned = {
        f"{what}_{window}": share
        for window, shares in evaluation.get("cleaning", {}).items()
        for what, share in shares.items()
        if what != "rows"
    }
    return {**evaluation["metrics"], **ends, **cleaned}


def data_tags(evaluation_uri: str, evaluation: Mapping[str, Any], model: Model) -> dict[str, str]:
    """Which data a model comes from, and where its files lie."""
    training = model.card["training_set"]
    return {
        "family": str(model.card["family"]),
        "sha256": model.sha256,
        "model_uri": model.uri,
        "evaluation_uri": evaluation_uri,
        "training_set_uri": str(evaluation["training_set_uri"]),
        "data_version": str(training["data_version"]),
        "feature_service": str(training["feature_service"]),
        "registry_hash": str(training["registry_hash"]),
        "as_of": str(training["as_of"]),
    }


def made_tags(made: Mapping[str, Any], card: Mapping[str, Any]) -> dict[str, str]:
    """Tags LOGGED of how a model was made.

    Args:
        made: its provenance.
    """
    return {
        **made["code"],
        "environment_hash": environment_hash(made["environment"]),
        "python": str(made["python"]),
        "params_hash": digest(science(made["params"], card)),
    }


def science(params: Mapping[str, Any], card: Mapping[str, Any]) -> dict[str, Any]:
    """What decides what a model becomes: settings of its family and of training, cleaning, splits, feature service."""
    training, asked, family = card["training_set"], params["training"], card["family"]
    compression = asked["compression"].get(family)
    teacher = ((compression or {}).get("distil") or {}).get("teacher")
    taught = None  # by a model's folder, or not at all; a family teaches with its declared settings
    if teacher in asked:
        declared = {name: value for name, value in asked[teacher].items() if name != "search"}
        taught = {"settings": declared, "compression": asked["compression"].get(teacher)}
    return {
        "family": family,
        "settings": card["params"],
        "seed": card["seed"],
        "calibration": asked["calibration"],
        "refit": asked["refit"],
        "compression": compression,
        "teacher": taught,
        "costs": params["costs"],
        "cleaning": params["cleaning"],
        "splits": params["splits"],
        "feature_service": training["feature_service"],
        "as_of": training["as_of"],
    }


def digest(value: Any) -> str:
    """sha256 of a JSON-able value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def require_together(evaluation: Mapping[str, Any], model: Model, model_uri: str | None, training_set_uri: str) -> None:
    """Refuse an evaluation that is of another model, or of a model from another training set.

    Raises:
        InvalidInput: naming what it is about instead.
    """
    for what, given, found in (
        ("model", model_uri, model.uri),
        ("training set", training_set_uri, evaluation["training_set_uri"]),
    ):
        if (given or "").rstrip("/") != found.rstrip("/"):
            raise InvalidInput(f"the evaluation is about the {what} {found}, not {given}; give the gate's")


def require_authority(decision: Mapping[str, Any] | None, decision_id: str, model: Model) -> None:
    """Refuse to register without a recorded gate that passed this very model.

    Raises:
        InvalidInput: naming what the decision is about instead.
    """
    if decision is None or decision["kind"] != DecisionKind.GATE:
        raise InvalidInput(f"decision {decision_id!r} is no recorded gate; run the gate first")
    if decision["verdict"] != "PASS":
        raise InvalidInput(
            f"decision {decision_id} is {decision['verdict']}, not PASS; nothing may be registered on it"
        )
    chosen = decision["evidence"].get("chosen") or {}
    if (chosen.get("model_uri"), chosen.get("sha256")) != (model.uri, model.sha256):
        raise InvalidInput(f"decision {decision_id} passed {chosen.get('model_uri')}, not {model.uri} as it is now")
