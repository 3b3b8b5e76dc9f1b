"""What a run or a version says about its origins."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from typing import Any

from pipelines.errors import InvalidInput
from pipelines.scorer import Model


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


def code_tags() -> dict[str, str]:
    """The commit of the code: FLIGHTDECK_COMMIT (set it in images without git), else what git says, else nothing."""
    commit = os.environ.get("FLIGHTDECK_COMMIT", "")
    if not commit:
        try:
            asked = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return {}
        commit = asked.stdout.strip() if asked.returncode == 0 else ""
    return {"git_commit": commit} if commit else {}


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
    if decision is None or decision["kind"] != "gate":
        raise InvalidInput(f"decision {decision_id!r} is no recorded gate; run the gate first")
    if decision["verdict"] != "PASS":
        raise InvalidInput(
            f"decision {decision_id} is {decision['verdict']}, not PASS; nothing may be registered on it"
        )
    chosen = decision["evidence"].get("chosen") or {}
    if (chosen.get("model_uri"), chosen.get("sha256")) != (model.uri, model.sha256):
        raise InvalidInput(f"decision {decision_id} passed {chosen.get('model_uri')}, not {model.uri} as it is now")
