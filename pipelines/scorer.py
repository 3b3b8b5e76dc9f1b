"""A model as data: one ONNX graph and its model.json, verified and scored. A leaf: imports no training library."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
from numpy.typing import NDArray

from pipelines.errors import CorruptData, InvalidInput
from pipelines.graph_inputs import SPELLING, number_columns, string_column
from pipelines.seal import read_sealed
from pipelines.store import Store
from pipelines.usecase import ModelInputs

GRAPH = "model.onnx"
CARD = "model.json"
BATCH = 4096  # rows scored at once: attention among 120 inputs takes a quarter of a megabyte a row
WARM_UP = 20  # calls of one row that are not timed
OUTDATED = re.compile(r"-?\d+\.\d*0|-?\d(\.\d+)?e\+\d+|\d{4}-\d\d-\d\d \d\d:.*")  # numbers and instants, once spelt so


@dataclass(frozen=True)
class Model:
    """The files of a model folder, known to belong together.

    Attributes:
        card: model.json: family, inputs, sha256, params, seed, training_set, environment.
        graph: the bytes of model.onnx.
    """

    uri: str
    card: Mapping[str, Any]
    graph: bytes

    @property
    def sha256(self) -> str:
        return str(self.card["sha256"][GRAPH])


def read_model(store: Store, uri: str, sha256: str | None = None) -> Model:
    """Read a model folder, and check the card against its own digest and the graph against the card.

    Args:
        sha256: of the graph as it was registered. A folder that was trained into again is whole, and another model.

    Raises:
        MissingData: if a file is not there.
        CorruptData: if the card was altered, or the graph is not the one that the card names, or not `sha256`.
    """
    location = uri.rstrip("/")
    card = read_sealed(store, f"{location}/{CARD}", "train the model anew")
    graph = store.read_bytes(f"{location}/{GRAPH}")
    try:
        promised = str(card["sha256"][GRAPH])
        numeric, categorical = card["inputs"]["numeric"], card["inputs"]["categorical"]
    except (KeyError, TypeError) as error:
        raise CorruptData(f"{location}/{CARD} lacks {error}; train the model anew") from None
    if not (isinstance(numeric, list) and isinstance(categorical, list)):
        raise CorruptData(f"{location}/{CARD} does not list the model's inputs; train the model anew")
    found = hashlib.sha256(graph).hexdigest()
    if found != promised:
        raise CorruptData(
            f"{location}/{GRAPH} has sha256 {found[:12]}, but {CARD} names {promised[:12]}; restore it or train anew"
        )
    if sha256 is not None and found != sha256:
        raise CorruptData(
            f"{location} holds another model than the registered one: {GRAPH} has sha256 {found[:12]}, registered is "
            f"{sha256[:12]}; restore the folder, or take another version"
        )
    return Model(location, card, graph)


@dataclass(frozen=True)
class Scorer:
    """Scores frames with one model.

    Attributes:
        threads: of one call within onnxruntime; 0 lets it take every core.
    """

    model: Model
    threads: int = 0

    @property
    def numeric(self) -> tuple[str, ...]:
        return tuple(self.model.card["inputs"]["numeric"])

    @property
    def categorical(self) -> tuple[str, ...]:
        return tuple(self.model.card["inputs"]["categorical"])

    @property
    def inputs(self) -> ModelInputs:
        return ModelInputs(self.numeric, self.categorical)

    @property
    def service(self) -> str:
        """The feature service that the model was trained on.

        Raises:
            CorruptData: if model.json does not say.
        """
        try:
            return str(self.model.card["training_set"]["feature_service"])
        except (KeyError, TypeError):
            raise CorruptData(
                f"{self.model.uri}/model.json names no training_set.feature_service; train the model again"
            ) from None

    @cached_property
    def session(self) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # as OMP_WAIT_POLICY=passive
        options.log_severity_level = 3
        try:
            return onnxruntime.InferenceSession(self.model.graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions share no public base
            raise CorruptData(f"{self.model.uri}/{GRAPH} cannot be loaded ({error}); train the model anew") from error

    def score(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """Probability of label 1 for each row: (N,) float64 in [0, 1].

        Args:
            frame: has every input column; numbers may be NaN, strings may be null.

        Raises:
            InvalidInput: naming the columns that are missing or not numbers.
        """
        return self.score_arrays(*model_arrays(frame, self.numeric, self.categorical))

    def score_arrays(self, numeric: NDArray[np.float32], categorical: NDArray[np.object_]) -> NDArray[np.float64]:
        """As `score`, of arrays as `model_arrays` makes them."""
        batches = [
            self.session.run(
                ["score"], {"numeric": numeric[at : at + BATCH], "categorical": categorical[at : at + BATCH]}
            )[0]
            for at in range(0, len(numeric), BATCH)
        ]
        return np.concatenate(batches).astype(np.float64) if batches else np.zeros(0)

    def row_latency_ms(self, frame: pd.DataFrame, calls: int, quantile: float = 0.95) -> float:
        """A quantile, in milliseconds, of the time that the graph takes for one row; of a frame that has any."""
        numeric, categorical = model_arrays(frame, self.numeric, self.categorical)
        taken = []
        for at in np.arange(WARM_UP + calls) % len(frame):
            began = time.perf_counter()
            self.score_arrays(numeric[at : at + 1], categorical[at : at + 1])
            taken.append(1000 * (time.perf_counter() - began))
        return float(np.quantile(taken[WARM_UP:], quantile))


def card_inputs(inputs: ModelInputs) -> dict[str, Any]:
    """What model.json says of the inputs, the spelling of categories that a model was trained with included."""
    return {"numeric": list(inputs.numeric), "categorical": list(inputs.categorical), "spelling": SPELLING}


def load_scorer(store: Store, uri: str, threads: int = 0, sha256: str | None = None) -> Scorer:
    """The scorer of a model folder; `sha256` and what is raised as of `read_model`.

    Raises:
        InvalidInput: if the model learnt categories in a spelling that no category has any more.
    """
    model = read_model(store, uri, sha256)
    _require_spelling(store, model)
    return Scorer(model, threads)


def _require_spelling(store: Store, model: Model) -> None:
    """Refuse a model from before there was one spelling, where it learnt such as "2.0" of a column that is not text."""
    inputs, training_set = model.card["inputs"], model.card.get("training_set")
    if inputs.get("spelling") == SPELLING or not inputs["categorical"]:
        return
    learnt = {name: value for name, value in _learnt(model) if OUTDATED.fullmatch(value)}
    if not learnt:
        return
    texts = _texts(store, f"{training_set['uri']}/train.parquet") if training_set else set()
    for name in learnt.keys() - texts:
        raise InvalidInput(
            f"{model.uri} learnt the category {learnt[name]!r} of {name}, which nothing shows to be text, so that it "
            "is spelt otherwise since; build the training set anew and train the model again"
        )


def _learnt(model: Model) -> Iterator[tuple[str, str]]:
    """Input and category of everything in the vocabulary of a graph."""
    import onnx

    try:
        nodes = onnx.load_from_string(model.graph).graph.node
    except Exception:  # no graph: the session says so
        return
    for attribute in (a for node in nodes if node.op_type == "LabelEncoder" for a in node.attribute):
        for key in attribute.strings:
            column, _, value = key.decode().partition("=")
            yield model.card["inputs"]["categorical"][int(column)], value


def _texts(store: Store, uri: str) -> set[str]:
    """The columns of a Parquet file that are text; none where it is gone."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not store.exists(uri):
        return set()
    with store.fs.open(uri) as file:
        schema = pq.read_schema(file)
    return {field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)}


def model_arrays(
    frame: pd.DataFrame, numeric: tuple[str, ...], categorical: tuple[str, ...]
) -> tuple[NDArray[np.float32], NDArray[np.object_]]:
    """The inputs of a graph: numeric (N, n) float32 with NaN for missing, categorical (N, m) str with "" for missing.

    Raises:
        InvalidInput: naming the columns that are missing, or a value that is no number or no category.
    """
    missing = [name for name in (*numeric, *categorical) if name not in frame.columns]
    if missing:
        raise InvalidInput(
            f"the frame lacks the model's inputs {', '.join(missing)}; build features with these columns"
        )
    strings = np.empty((len(frame), len(categorical)), dtype=object)
    for position, name in enumerate(categorical):
        strings[:, position] = string_column(frame[name], name)
    return number_columns(frame, numeric), strings
