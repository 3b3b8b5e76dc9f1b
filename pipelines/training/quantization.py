"""Dynamic int8 quantization of a graph's matrix products, row by row.

A product of a float matrix with constant weights becomes one of 8-bit integers: weights have one fixed scale for each
output; a row of activations has one scale, from its own largest value (Dettmers et al. 2022). onnxruntime's dynamic
quantization takes one scale for the whole batch, so that a score depends on the other rows of the batch; here it does
not. Both sides are unsigned with zero point 128, since the kernels of other types saturate on CPUs without VNNI, and
sums are exact everywhere. Products with a single output stay float: they have few weights and directly precede the
score.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from pipelines.artifacts.scorer import Scorer
from pipelines.training.families import FittedModel
from pipelines.training.onnx_graph import Graph, further_of, to_onnx
from pipelines.usecase import ModelInputs

ZERO, LARGEST = 128, 127
TINY = 1e-30  # least scale of a row, for rows of zeros


@dataclass(frozen=True)
class LogOdds:
    """In place of a calibration: the graph gives log-odds as they are."""

    def apply(self, log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
        return log_odds

    def add(self, graph: Graph, log_odds: str) -> str:
        return log_odds


@dataclass(frozen=True)
class Quantized:
    """A fitted estimator whose graph has 8-bit products. Its log-odds are those of that graph."""

    fitted: FittedModel

    @property
    def inputs(self) -> ModelInputs:
        return self.fitted.inputs

    @property
    def epochs(self) -> int | None:
        return getattr(self.fitted, "epochs", None)

    @property
    def further(self) -> tuple[str, ...]:
        return further_of(self.fitted)

    @cached_property
    def _scorer(self) -> Scorer:
        return Scorer(to_onnx(self, LogOdds()), self.inputs, threads=1, further=self.further)

    def log_odds(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        return self._scorer.score(frame)

    def further_outputs(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        return self._scorer.score_all(frame)[1]

    def body(self, graph: Graph) -> str:
        output = self.fitted.body(graph)
        quantize_products(graph)
        return output


def quantize_products(graph: Graph) -> int:
    """Replace, in place, every product of a matrix with constant weights of several outputs, and give their number."""
    rewriting = _Rewriting(graph, {c.name: c for c in graph.constants})
    count = 0
    for node in graph.nodes:
        weights = rewriting.weights(node)
        if weights is None:
            rewriting.nodes.append(node)
        else:
            rewriting.replace(node, weights, count)
            count += 1
    graph.nodes[:] = rewriting.nodes
    inputs_in_use = {name for node in graph.nodes for name in node.input}
    graph.constants[:] = [c for c in graph.constants if c.name in inputs_in_use or c.name not in rewriting.replaced]
    return count


@dataclass
class _Rewriting:
    graph: Graph
    constants: dict[str, TensorProto]
    nodes: list[NodeProto] = field(default_factory=list)
    replaced: set[str] = field(default_factory=set)
    rows: dict[str, tuple[str, str]] = field(default_factory=dict)  # of an activation: 8-bit values, scales

    def weights(self, node: NodeProto) -> NDArray[np.float32] | None:
        """The weights (inputs, outputs) of a product that can be replaced; None for other nodes."""
        constant = self.constants.get(node.input[1]) if node.op_type in ("MatMul", "Gemm") else None
        if constant is None or len(constant.dims) != 2 or constant.data_type != TensorProto.FLOAT:
            return None
        says = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if says.get("transA", 0) or says.get("alpha", 1.0) != 1.0 or says.get("beta", 1.0) != 1.0:
            return None
        matrix = numpy_helper.to_array(constant)
        matrix = matrix.T if says.get("transB", 0) else matrix
        return matrix if matrix.shape[1] > 1 else None

    def replace(self, node: NodeProto, weights: NDArray[np.float32], number: int) -> None:
        scale = np.maximum(np.abs(weights).max(axis=0), TINY) / np.float32(LARGEST)
        whole = (np.round(weights / scale) + ZERO).astype(np.uint8)
        integers, row_scale = self.activation(node.input[0])
        sums = self.add("MatMulInteger", integers, self.constant(whole, f"integers_{number}"), *[self.zero()] * 2)
        product = self.add("Mul", self.add("Cast", sums, to=TensorProto.FLOAT), row_scale)
        scales = self.constant(scale.astype(np.float32), f"scales_{number}")
        has_bias = len(node.input) > 2
        last = self.add("Mul", product, scales, output="" if has_bias else node.output[0])
        if has_bias:
            self.add("Add", last, node.input[2], output=node.output[0])
        self.replaced.add(node.input[1])

    def activation(self, name: str) -> tuple[str, str]:
        """Names of the 8-bit values of a tensor and of the scales of its rows; added once for each tensor."""
        if name not in self.rows:
            axis = self.constant(np.array([-1], dtype=np.int64), "last_axis")
            largest = self.add("ReduceMax", self.add("Abs", name), axis, keepdims=1)
            least = self.constant(np.array(TINY, dtype=np.float32), "least_scale")
            ends = self.constant(np.array(LARGEST, dtype=np.float32), "largest_integer")
            scale = self.add("Div", self.add("Max", largest, least), ends)
            rounding = self.add("Round", self.add("Div", name, scale))
            integers = self.add("Add", rounding, self.constant(np.array(ZERO, dtype=np.float32), "shift"))
            self.rows[name] = self.add("Cast", integers, to=TensorProto.UINT8), scale
        return self.rows[name]

    def zero(self) -> str:
        return self.constant(np.array(ZERO, dtype=np.uint8), "zero_point")

    def constant(self, value: NDArray[Any], name: str) -> str:
        full_name = f"quantized_{name}"
        if full_name not in self.constants:
            self.graph.constant(value, full_name)
            self.constants[full_name] = self.graph.constants[-1]
        return full_name

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        name = output or f"quantized_{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name
