"""The model card of a version (Mitchell et al. 2019): what it is for, rests on, does well and badly. Its facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.tracking.artifacts import OLD, Digests


def build(
    name: str,
    version: str,
    tags: Mapping[str, str],
    files: Digests,
    declared: Mapping[str, str],
    card: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    manifest: Mapping[str, Any],
    reliability: Sequence[Mapping[str, Any]],
    decision: Mapping[str, Any],
) -> dict[str, Any]:
    """The facts of a card, JSON-able.

    Args:
        tags: of the registered version. `files` are the digests of what it rests on.
        declared: purpose, limits, ethics and owner, in a person's words.
        card: model.json. `manifest` is the training set's.
        reliability: points of the reliability curve, with mean_score, observed_rate and rows.
        decision: the gate's, as recorded.
    """
    chosen = decision["evidence"].get("chosen") or {}
    champion = decision["evidence"].get("champion") or {}
    measured = decision["evidence"].get("measured") or {}
    calibration = card["calibration"]
    return {
        "name": name,
        "version": version,
        "family": card["family"],
        "declared": dict(declared),
        "data": {
            **{key: manifest[key] for key in ("data_version", "feature_service", "registry_hash", "as_of")},
            "rows": manifest.get("rows", {}),
            "windows": manifest["windows"],
        },
        "inputs": card["inputs"],
        "parameters": {**card["params"], "seed": card["seed"]},
        "refit": card["refit"],
        "compression": card.get("compression", {}),
        "metrics": {
            metric: [value, *(evaluation.get("intervals", {}).get(metric) or (None, None))]
            for metric, value in sorted(evaluation["metrics"].items())
        },
        "rows": evaluation["rows"],
        "days": evaluation.get("days"),
        "window": evaluation["window"],
        "slices": evaluation["slices"],
        "calibration": {
            **{key: calibration[key] for key in ("asked", "method")},
            "held_out_log_loss": calibration.get("held_out_log_loss", {}),
            "reliability": [dict(point) for point in reliability],
        },
        "threshold": evaluation["threshold"],
        "behaviour": evaluation["behaviour"],
        "gate": {
            "decision_id": decision["id"],
            "findings": [[f["gate"]["metric"], f["verdict"], f["reason"]] for f in chosen.get("findings", [])],
            "against": champion.get("deltas") or {},
            "measured": measured.get(card["family"]) or {},
        },
        "lineage": {key: value for key, value in sorted(tags.items()) if "." not in key and key != OLD},
        "environment": card.get("environment", {}),
        "sha256": {folder: dict(digests) for folder, digests in files.items()},
        "verification": None,
    }
