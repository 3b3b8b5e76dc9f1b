"""Scores of a model or a graph by ONNX Runtime. Imports no training library."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnxruntime
import pandas as pd
from numpy.typing import NDArray

from pipelines.artifacts.card import FURTHER, GRAPH
from pipelines.artifacts.model import Model, ModelRef, read_model
from pipelines.errors import CorruptData, InvalidInput
from pipelines.graph_inputs import SPELLING, number_columns, string_column
from pipelines.store import Store
from pipelines.usecase import ModelInputs

BATCH = 4096  # rows scored at once: attention among 120 inputs takes a quarter of a megabyte a row
WARM_UP = 20  # calls of one row that are not timed
OUTDATED = re.compile(r"-?\d+\.\d*0|-?\d(\.\d+)?e\+\d+|\d{4}-\d\d-\d\d \d\d:.*")  # numbers and instants, once spelt so


@dataclass(frozen=True)
class Scorer:
    """Scores frames with one graph.

    Attributes:
        inputs: the columns that it reads.
        threads: of one call within onnxruntime; 0 lets it take every core.
        uri: the folder that it comes from, for errors.
        further: names of the k outputs besides the score.
    """

    graph: bytes
    inputs: ModelInputs
    threads: int = 0
    uri: str = "memory"
    further: tuple[str, ...] = ()

    @cached_property
    def session(self) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # as OMP_WAIT_POLICY=passive
        options.log_severity_level = 3
        try:
            return onnxruntime.InferenceSession(self.graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions share no public base
            raise CorruptData(f"{self.uri}/{GRAPH} cannot be loaded ({error}); train the model anew") from error

    def score(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """Probability of label 1 for each row: (N,) float64 in [0, 1].

        Args:
            frame: has every input column; numbers may be NaN, strings may be null.

        Raises:
            InvalidInput: naming the columns that are missing or not numbers.
        """
        return self.score_arrays(*model_arrays(frame, self.inputs))

    def score_arrays(self, numeric: NDArray[np.float32], categorical: NDArray[np.object_]) -> NDArray[np.float64]:
        """As `score`, of arrays as `model_arrays` makes them."""
        batches = [one[0] for one in self._run(["score"], numeric, categorical)]
        return np.concatenate(batches).astype(np.float64) if batches else np.zeros(0)

    def score_all(self, frame: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """As `score`, and the further outputs, (N, k) float64 in the order of `further`."""
        return self.score_all_arrays(*model_arrays(frame, self.inputs))

    def score_all_arrays(
        self, numeric: NDArray[np.float32], categorical: NDArray[np.object_]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """As `score_all`, of arrays as `model_arrays` makes them."""
        if not self.further or not len(numeric):
            return self.score_arrays(numeric, categorical), np.zeros((len(numeric), len(self.further)))
        scores, further = zip(*self._run(["score", FURTHER], numeric, categorical), strict=True)
        return np.concatenate(scores).astype(np.float64), np.concatenate(further).astype(np.float64)

    def _run(
        self, outputs: list[str], numeric: NDArray[np.float32], categorical: NDArray[np.object_]
    ) -> list[list[NDArray[np.float32]]]:
        """These outputs of each batch of rows."""
        return [
            self.session.run(
                outputs, {"numeric": numeric[at : at + BATCH], "categorical": categorical[at : at + BATCH]}
            )
            for at in range(0, len(numeric), BATCH)
        ]

    def row_latency_ms(self, frame: pd.DataFrame, calls: int, quantile: float = 0.95) -> float:
        """A quantile, in milliseconds, of the time that the graph takes for one row; of a frame that has any."""
        numeric, categorical = model_arrays(frame, self.inputs)
        taken = []
        for at in np.arange(WARM_UP + calls) % len(frame):
            began = time.perf_counter()
            self.score_arrays(numeric[at : at + 1], categorical[at : at + 1])
            taken.append(1000 * (time.perf_counter() - began))
        return float(np.quantile(taken[WARM_UP:], quantile))


@dataclass(frozen=True, kw_only=True)
class ModelScorer(Scorer):
    """Scores frames with the graph of a model."""

    model: Model

    @classmethod
    def of(cls, model: Model, threads: int = 0) -> ModelScorer:
        card = model.card
        return cls(
            graph=model.graph,
            inputs=card.inputs.inputs,
            threads=threads,
            uri=model.uri,
            further=card.further,
            model=model,
        )


def load_scorer(store: Store, ref: ModelRef, threads: int = 0) -> ModelScorer:
    """The scorer of a model folder; what is raised as of `read_model`.

    Raises:
        InvalidInput: if the model learnt categories in a spelling that no category has any more.
    """
    model = read_model(store, ref)
    _require_spelling(store, model)
    return ModelScorer.of(model, threads)


def _require_spelling(store: Store, model: Model) -> None:
    """Refuse a model from before there was one spelling, where it learnt such as "2.0" of a column that is not text."""
    inputs = model.card.inputs
    if inputs.spelling == SPELLING or not inputs.categorical:
        return
    learnt = {name: value for name, value in _learnt(model) if OUTDATED.fullmatch(value)}
    if not learnt:
        return
    texts = _texts(store, f"{model.card.training_set.uri}/train.parquet")
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
            yield model.card.inputs.categorical[int(column)], value


def _texts(store: Store, uri: str) -> set[str]:
    """The columns of a Parquet file that are text; none where it is gone."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not store.exists(uri):
        return set()
    with store.fs.open(uri) as file:
        schema = pq.read_schema(file)
    return {field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)}


def model_arrays(frame: pd.DataFrame, inputs: ModelInputs) -> tuple[NDArray[np.float32], NDArray[np.object_]]:
    """The inputs of a graph: numeric (N, n) float32 with NaN for missing, categorical (N, m) str with "" for missing.

    Raises:
        InvalidInput: naming the columns that are missing, or a value that is no number or no category.
    """
    missing = [name for name in inputs.names if name not in frame.columns]
    if missing:
        raise InvalidInput(
            f"the frame lacks the model's inputs {', '.join(missing)}; build features with these columns"
        )
    strings = np.empty((len(frame), len(inputs.categorical)), dtype=object)
    for position, name in enumerate(inputs.categorical):
        strings[:, position] = string_column(frame[name], name)
    return number_columns(frame, inputs.numeric), strings
