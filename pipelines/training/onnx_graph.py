"""The ONNX graph around every family: the same two inputs, the same cleaning and encoding, the same output.

Inputs are `numeric` float32 (N, n), NaN for missing, and `categorical` string (N, m), "" for missing; the output is
`score` float32 (N,). A family adds the nodes from the cleaned numbers and `rows` (int64 (N, m), rows of the
vocabulary's table) to its log-odds, (N, 1); its calibration turns them into a probability.

A family that learns k further labels gives log-odds (N, 1 + k). The graph then has a second output, `further` float32
(N, k): their probabilities, uncalibrated.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from pipelines.artifacts.card import FURTHER
from pipelines.training.cleaning import Cleaning
from pipelines.training.preprocessing import SPREAD, Scale, Vocabulary
from pipelines.usecase import ModelInputs

ML = "ai.onnx.ml"
OPSET, ML_OPSET, IR = 20, 3, 10  # the oldest that have StringConcat and typed LabelEncoder


@dataclass
class Graph:
    """Nodes and constants under construction, named in order, so that equal graphs have equal bytes."""

    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)

    def constant(self, value: NDArray[Any], name: str) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, operator: str, *inputs: str, output: str = "", domain: str = "", **attributes: Any) -> str:
        """Append a node and give the name of its output."""
        name = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=name, domain=domain, **attributes))
        return name


class Body(Protocol):
    """The part of a graph that a fitted family adds."""

    @property
    def inputs(self) -> ModelInputs: ...

    def body(self, graph: Graph) -> str:
        """Add the nodes between the inputs and the log-odds of label 1, not yet calibrated; their output, (N, 1).

        It is (N, 1 + k) where the family has `further`, the names of k further labels; their log-odds come last.
        """


class Link(Protocol):
    """The part of a graph that a calibration adds."""

    def add(self, graph: Graph, log_odds: str) -> str:
        """Add the nodes from log-odds to a probability; both are (N, 1)."""


def encode_strings(graph: Graph, vocabulary: Vocabulary) -> str:
    """Add the nodes from `categorical` to `rows`: one lookup for all columns, each string marked with its column."""
    marks = [f"{column}=" for column in range(len(vocabulary.values))]
    graph.constant(np.array(marks, dtype=object), "marks")
    rows_by_key = [(mark + value, n + 1) for mark, column in zip(marks, vocabulary.values, strict=True)
             for n, value in enumerate(("", *column))]  # fmt: skip
    keys = graph.add("StringConcat", "marks", "categorical")
    within = graph.add(
        "LabelEncoder",
        keys,
        domain=ML,
        keys_strings=[key for key, _ in rows_by_key],
        values_int64s=[row for _, row in rows_by_key],
        default_int64=0,
    )
    offsets = graph.constant(np.array(vocabulary.offsets, dtype=np.int64), "offsets")
    return graph.add("Add", within, offsets, output="rows")


def clean(graph: Graph, cleaning: Cleaning) -> tuple[str, str]:
    """Add the nodes from `numeric` to the results of `Cleaning.values` and `Cleaning.marks`.

    Comparisons with NaN are false, so that missing values pass the caps.
    """
    low, high = graph.constant(cleaning.low, "low"), graph.constant(cleaning.high, "high")
    under, over = graph.add("Less", "numeric", low), graph.add("Greater", "numeric", high)
    missing = graph.add("IsNaN", "numeric")
    within_caps = graph.add("Where", over, high, graph.add("Where", under, low, "numeric"))
    values = graph.add("Where", missing, graph.constant(cleaning.fill, "fill"), within_caps)
    marks = [
        graph.add("Gather", mask, graph.constant(np.array(positions, dtype=np.int64), name), axis=1)
        for mask, positions, name in (
            (graph.add("Or", under, over), cleaning.flags, "flags"),
            (missing, cleaning.indicators, "indicators"),
        )
    ]
    return values, graph.add("Cast", graph.add("Concat", *marks, axis=1), to=TensorProto.FLOAT)


def standardise(graph: Graph, scale: Scale, values: str, marks: str) -> str:
    """Add the nodes of `Scale.apply`, after those of `clean`."""
    difference = graph.add("Sub", values, graph.constant(scale.mean, "mean"))
    quotient = graph.add("Div", difference, graph.constant(scale.deviation, "deviation"))
    ends = (
        graph.constant(np.array(end, dtype=np.float32), name) for end, name in ((-SPREAD, "least"), (SPREAD, "most"))
    )
    return graph.add("Concat", graph.add("Clip", quotient, *ends), marks, axis=1)


def to_onnx(fitted: Body, calibration: Link) -> bytes:
    """The bytes of the checked model: a fitted estimator with its calibration."""
    graph, further = Graph(), len(further_of(fitted))
    log_odds = fitted.body(graph)
    outputs = [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"])]
    if further:
        graph.add("Sigmoid", _columns(graph, log_odds, range(1, 1 + further), "further_columns"), output=FURTHER)
        outputs.append(helper.make_tensor_value_info(FURTHER, TensorProto.FLOAT, ["N", further]))
        log_odds = _columns(graph, log_odds, range(1), "score_column")
    probability = calibration.add(graph, log_odds)
    numeric, categorical = len(fitted.inputs.numeric), len(fitted.inputs.categorical)
    shape = graph.constant(np.array([-1], dtype=np.int64), "flat")
    graph.add("Reshape", probability, shape, output="score")
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "model",
            [
                helper.make_tensor_value_info("numeric", TensorProto.FLOAT, ["N", numeric]),
                helper.make_tensor_value_info("categorical", TensorProto.STRING, ["N", categorical]),
            ],
            outputs,
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(ML, ML_OPSET)],
        ir_version=IR,
        producer_name="flightdeck",
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def further_of(fitted: Body) -> tuple[str, ...]:
    """The names of the further labels that a fitted estimator predicts; none by default."""
    return tuple(getattr(fitted, "further", ()))


def _columns(graph: Graph, values: str, columns: range, name: str) -> str:
    return graph.add("Gather", values, graph.constant(np.array(columns, dtype=np.int64), name), axis=1)
