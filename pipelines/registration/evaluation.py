"""An evaluation and its model, read back and held against each other."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from pipelines.errors import CorruptData, InvalidInput
from pipelines.registration.candidates import Candidate
from pipelines.scorer import Model, read_model
from pipelines.seal import read_sealed
from pipelines.store import Store

METRICS, SCORED = "metrics.json", "scored.parquet"
ANEW = "evaluate the model again"
CURVES = ("roc.csv", "precision_recall.csv", "calibration.csv", "cost.csv", "importance.csv")
PICTURES = ("curves.png", "cost.png", "importance.png", "slices.png")
FILES = (METRICS, "cleaning.json", *CURVES, *PICTURES)


def read_evaluation(store: Store, evaluation_uri: str) -> tuple[Mapping[str, Any], Model]:
    """metrics.json of an evaluation, and the model it is about.

    Raises:
        MissingData, CorruptData: if a file is absent or altered, or the model is no longer the one that was evaluated.
    """
    uri = f"{evaluation_uri.rstrip('/')}/{METRICS}"
    evaluation = read_sealed(store, uri, ANEW)
    wanted = {"family", "model_uri", "model_sha256", "training_set_uri", "metrics", "sha256"}
    if lacking := wanted - set(evaluation):
        raise CorruptData(f"{uri} lacks {', '.join(sorted(lacking))}; {ANEW}")
    model = read_model(store, evaluation["model_uri"])
    if model.sha256 != evaluation["model_sha256"]:
        raise CorruptData(f"{uri} is not about the model now in {model.uri}; {ANEW}")
    return evaluation, model


def read_scored(store: Store, evaluation_uri: str, evaluation: Mapping[str, Any]) -> pd.DataFrame:
    """The scored test frame of an evaluation; CorruptData if it was altered."""
    uri = f"{evaluation_uri.rstrip('/')}/{SCORED}"
    content = store.read_bytes(uri)
    if hashlib.sha256(content).hexdigest() != evaluation["sha256"].get(SCORED):
        raise CorruptData(f"{uri} is not the file that {METRICS} names; {ANEW}")
    frame: pd.DataFrame = pq.read_table(io.BytesIO(content)).to_pandas()
    return frame


def candidate(evaluation_uri: str, evaluation: Mapping[str, Any], model: Model, problem: str | None) -> Candidate:
    return Candidate(
        family=evaluation["family"],
        model_uri=model.uri,
        sha256=model.sha256,
        evaluation_uri=evaluation_uri,
        training_set_uri=evaluation["training_set_uri"],
        metrics=evaluation["metrics"],
        problems=(problem,) if problem else (),
    )


def require_current(model: Model, as_of: datetime) -> None:
    """Refuse a model that was trained as of another instant.

    Raises:
        InvalidInput: naming both instants.
    """
    trained = str(model.card["training_set"]["as_of"])
    try:
        same = datetime.fromisoformat(trained) == as_of
    except ValueError:
        same = False
    if not same:
        raise InvalidInput(f"{model.uri} was trained as of {trained}, but as_of is {as_of.isoformat()}; give its own")
