"""The monitoring steps with their usual inputs, over random examples and a known model."""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from onnx import TensorProto, helper

from pipelines.artifacts.card import GRAPH
from pipelines.artifacts.evaluation import SCORED, scored_uri
from pipelines.context import Context
from pipelines.monitoring import decide, join_outcomes, report_drift, score
from pipelines.usecase import DAY, EXAMPLE_ID, LABEL, LABEL_KNOWN_AT, PREDICTED_AT, ModelInputs
from tests.artifacts import TRAINED, evaluation, model_card

START, END = date(2020, 1, 1), date(2020, 1, 3)
AS_OF = datetime(2020, 1, 4, tzinfo=UTC)
WINDOW = {"start": START, "end": END, "as_of": AS_OF}
INPUTS = ModelInputs(numeric=("x", "y"), categorical=("kind",))
ROWS = 400


def examples(rows: int = ROWS, seed: int = 0, shift: float = 0.0) -> pd.DataFrame:
    """Labels drawn with probability sigmoid(x), which is the score of the model below."""
    rng = np.random.default_rng(seed)
    x = rng.normal(shift, 1.5, rows).astype(np.float32)
    at = [datetime(2020, 1, 1, tzinfo=UTC) + timedelta(minutes=n * 2880 // max(rows, 1)) for n in range(rows)]
    return pd.DataFrame(
        {
            EXAMPLE_ID: [f"e{n:04}" for n in range(rows)],
            PREDICTED_AT: pd.to_datetime(at, utc=True),
            DAY: [instant.date() for instant in at],
            "x": x,
            "y": rng.normal(0, 1, rows).astype(np.float32),
            "kind": rng.choice(["a", "b"], rows),
            LABEL: (rng.uniform(size=rows) < 1 / (1 + np.exp(-x))).astype(float),
            LABEL_KNOWN_AT: pd.to_datetime([instant + timedelta(hours=3) for instant in at], utc=True),
        }
    )


def as_table(frame: pd.DataFrame) -> pa.Table:
    instant = pa.timestamp("us", "UTC")
    known = {PREDICTED_AT: instant, LABEL_KNOWN_AT: instant, DAY: pa.date32(), LABEL: pa.float64()}
    return pa.table({c: pa.array(frame[c], known.get(c), from_pandas=True) for c in frame.columns})


def write_model(context: Context, column: int = 0) -> str:
    """A model whose score is sigmoid(x), or of the numeric input in another column."""
    nodes = [
        helper.make_node("Gather", ["numeric", "first"], ["x"], axis=1),
        helper.make_node("Sigmoid", ["x"], ["score"]),
    ]
    graph = helper.make_graph(
        nodes,
        "sigmoid",
        [
            helper.make_tensor_value_info("numeric", TensorProto.FLOAT, [None, 2]),
            helper.make_tensor_value_info("categorical", TensorProto.STRING, [None, 1]),
        ],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [None])],
        [helper.make_tensor("first", TensorProto.INT64, [], [column])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content = model.SerializeToString()
    uri = context.data.uri("models", "r", "tiny")
    trained = {**TRAINED, "feature_service": "tiny_v1"}
    card = model_card(INPUTS, sha256={GRAPH: hashlib.sha256(content).hexdigest()}, training_set=trained)
    context.data.store.write_bytes(f"{uri}/{GRAPH}", content)
    card.write(context.data.store, uri)
    return uri


class Desk:
    """A context, the examples that it holds, and the four steps with their usual inputs."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.frame = examples()
        self.services: list[str] = []
        self.model_uri = write_model(context)
        self.evaluation_uri = context.data.uri("evaluations", "r", "tiny")
        self.put_reference(examples(seed=1))

    def put_reference(self, frame: pd.DataFrame) -> None:
        scored = frame.assign(score=1 / (1 + np.exp(-frame["x"].astype(float))))
        self.context.data.store.write_table(scored_uri(self.evaluation_uri), as_table(scored))
        self.put_evaluation()

    @property
    def sha256(self) -> str:
        """The sha256 of the graph in the model's folder."""
        content = self.context.data.store.read_bytes(f"{self.model_uri}/{GRAPH}")
        return hashlib.sha256(content).hexdigest()

    def put_evaluation(self) -> None:
        """Write an evaluation of the model in its folder, with its scored rows."""
        store = self.context.data.store
        digest = store.sha256(store.read_bytes(scored_uri(self.evaluation_uri)))
        about = {"model_uri": self.model_uri, "model_sha256": self.sha256}
        evaluation(**about, sha256={SCORED: digest}).write(store, self.evaluation_uri)

    def score(self, **changes: Any) -> score.Outputs:
        given = {**WINDOW, "model_uri": self.model_uri, "model_version": "3"}
        return score.run(score.Inputs(**{**given, "run": "m1", **changes}), self.context)

    def join(self, **changes: Any) -> join_outcomes.Outputs:
        given = {"predictions_uri": self.score().predictions_uri, **WINDOW}
        return join_outcomes.run(join_outcomes.Inputs(**{**given, "run": "m1", **changes}), self.context)

    def report(self, **changes: Any) -> report_drift.Outputs:
        given = {"outcomes_uri": self.join().outcomes_uri, "evaluation_uri": self.evaluation_uri, **WINDOW}
        return report_drift.run(
            report_drift.Inputs(**{**given, "model_version": "3", "run": "m1", **changes}), self.context
        )

    def decide(self, summary_uri: str, **changes: Any) -> decide.Outputs:
        given = {"summary_uri": summary_uri, **WINDOW, "model_version": "3"}
        return decide.run(decide.Inputs(**{**given, **changes}), self.context)

    def summary(self, outputs: report_drift.Outputs) -> dict[str, Any]:
        read: dict[str, Any] = self.context.data.store.read_json(outputs.summary_uri)
        return read
