"""A torch module as nodes of our graph."""

from __future__ import annotations

import io
import warnings

import onnx
import torch
from onnx import AttributeProto
from torch import Tensor, nn

from pipelines.errors import CheckFailed
from pipelines.training.onnx_graph import OPSET, Graph


class _Tasks(nn.Module):
    """The log-odds of the first tasks, so that no part of the others is exported."""

    def __init__(self, network: nn.Module, tasks: int) -> None:
        super().__init__()
        self.network, self.tasks = network, tasks

    def forward(self, numbers: Tensor, rows: Tensor) -> Tensor:
        out: Tensor = self.network(numbers, rows, self.tasks)
        return out


def add_module(
    graph: Graph, network: nn.Module, numbers: str, rows: str, columns: tuple[int, int], tasks: int = 1
) -> str:
    """Add a network's nodes and weights, named in order, so that equal networks give equal bytes.

    Args:
        network: gives log-odds (N, T) of numbers (N, n) and rows (N, m).
        numbers, rows: names of these in the graph; `rows` is empty where the network does not read them.
        columns: n and m.
        tasks: how many of the T, from the first on.

    Returns:
        The name of the output, (N, tasks).
    """
    export = _export(_Tasks(network, tasks), columns)
    names = {"numbers": numbers, "rows": rows}
    for weight in export.initializer:
        names[weight.name] = weight.name = f"network_{len(names)}"
        graph.constants.append(weight)
    for node in export.node:
        if any(a.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for a in node.attribute):
            raise CheckFailed(f"the network's export holds {node.op_type}: its forward pass must not branch on values")
        node.input[:] = [names.get(name, name) for name in node.input]  # an input that is left out is ""
        for place, name in enumerate(node.output):
            names[name] = node.output[place] = f"network_{len(names)}"
        node.name = node.output[0]
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
        graph.nodes.append(node)
    return names[export.output[0].name]


def _export(tasks: _Tasks, columns: tuple[int, int]) -> onnx.GraphProto:
    example = torch.zeros(2, columns[0]), torch.zeros(2, columns[1], dtype=torch.int64)
    sink = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the TorchScript exporter is faster, and warns that it is the older one
        torch.onnx.export(
            tasks.eval(),
            example,
            sink,  # type: ignore[arg-type]
            dynamo=False,
            opset_version=OPSET,
            input_names=["numbers", "rows"],
            dynamic_axes={"numbers": {0: "N"}, "rows": {0: "N"}},
        )
    return onnx.load_model_from_string(sink.getvalue()).graph
