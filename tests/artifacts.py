"""Artifacts as the steps write them, for tests that need one without running a step; keywords change values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.artifacts.card import GRAPH, CardInputs, CleaningFacts, ModelCard
from pipelines.artifacts.document import Document, Frozen
from pipelines.artifacts.evaluation import CLEANING, SCORED, Evaluation
from pipelines.artifacts.feature_report import FeatureReport, read_feature_report
from pipelines.artifacts.manifest import Manifest
from pipelines.artifacts.provenance import Provenance
from pipelines.artifacts.summary import Summary
from pipelines.artifacts.trials import Trials
from pipelines.usecase import ModelInputs

if TYPE_CHECKING:
    from pipelines.context import Context

DIGEST = "0" * 64
WINDOWS = {
    "train": ["2023-12-01", "2024-01-30"],
    "validation": ["2024-02-01", "2024-02-28"],
    "test": ["2024-03-01", "2024-04-01"],
}
ORIGIN = {
    "data_version": "d1",
    "feature_service": "pumps_v1",
    "registry_hash": "r1",
    "as_of": "2024-04-01T00:00:00+00:00",
    "windows": WINDOWS,
    "sha256": {"train": "a" * 64, "validation": "b" * 64, "test": "c" * 64},
}
TRAINED = {"uri": "training_sets/r1", **ORIGIN}
DOCUMENTS: dict[str, type[Document]] = {
    kind.FILE: kind for kind in (Manifest, ModelCard, Evaluation, Summary, Provenance)
}
SERVED = ModelInputs(("x",), ("kind",))


def manifest(inputs: ModelInputs = SERVED, /, **changes: Any) -> Manifest:
    whole = {**ORIGIN, "rows": {"train": 3000, "validation": 1000, "test": 1500}, "model_inputs": columns(inputs)}
    return Manifest.of({**whole, **changes}, Manifest.FILE)


def model_card(inputs: ModelInputs = SERVED, /, **changes: Any) -> ModelCard:
    whole = {
        "family": "mlp",
        "inputs": CardInputs.of(inputs).as_json(),
        "cleaning": {"columns": {}, "counts": {}},
        "calibration": {"asked": "none", "method": "none"},
        "threshold": {"value": 0.5},
        "sha256": {GRAPH: DIGEST},
        "params": {},
        "refit": False,
        "seed": 1,
        "training_set": TRAINED,
    }
    return ModelCard.of({**whole, **changes}, ModelCard.FILE)


def evaluation(**changes: Any) -> Evaluation:
    whole = {
        "family": "mlp",
        "model_uri": "models/r1/mlp",
        "model_sha256": DIGEST,
        "training_set_uri": "training_sets/r1",
        "metrics": {},
        "sha256": {SCORED: DIGEST},
    }
    return Evaluation.of({**whole, **changes}, Evaluation.FILE)


def summary(**changes: Any) -> Summary:
    whole = {
        "window": ["2024-04-01", "2024-04-08"],
        "as_of": "2024-04-09T00:00:00+00:00",
        "model_version": "3",
        "n_scored": 1000,
        "n_labelled": 1000,
        "n_reference": 1500,
        "drifted_columns": [],
        "drift_share": 0.0,
        "unmeasured": {},
        "columns": {},
        "metrics": {"roc_auc": 0.7},
        "reference_metrics": {"roc_auc": 0.7},
        "roc_auc_drop": 0.0,
        "score_drift": 0.01,
        "feature_health": None,
        "left_out": {},
        "sha256": {},
    }
    return Summary.of({**whole, **changes}, Summary.FILE)


def feature_report(**changes: Any) -> FeatureReport:
    whole = {"window": ["2024-04-01", "2024-04-02"], "verdict": "PASS", "reasons": ["fine"], "views": {}}
    return FeatureReport.model_validate({**whole, **changes})


def require_as_written(context: Context) -> set[str]:
    """Check that every document of a chain is read and written back byte for byte; gives the names of all files.

    Summaries, trials and reports among them; what a document does not declare would be lost here.
    """
    store, seen = context.data.store, set()
    for file in Path(context.data.uri()).rglob("*.json"):
        place = str(file.parent)
        if file.name in DOCUMENTS:
            read: Frozen = DOCUMENTS[file.name].read(store, place)
        elif file.name == Trials.FILE:
            read = Trials.read(store, place)
        elif file.name == CLEANING:
            read = CleaningFacts.model_validate(store.read_json(str(file)))
        elif file.parent.parts[-2:] == ("reports", "features"):
            read = read_feature_report(store, str(file))
        else:
            continue
        assert (json.dumps(read.as_json(), indent=2, sort_keys=True) + "\n").encode() == file.read_bytes(), file
        seen.add(file.name)
    return seen


def columns(inputs: ModelInputs) -> dict[str, list[str]]:
    return {"numeric": list(inputs.numeric), "categorical": list(inputs.categorical)}
