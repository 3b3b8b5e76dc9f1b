"""A bare graph in ONNX Runtime: one thread, one row per call."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime


class Graph:
    """The graph in the folder that BENCHMARK names."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        graph = str(Path(os.environ["BENCHMARK"]) / "model.onnx")
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def score(self, numeric: Sequence[float | None], categorical: Sequence[str]) -> float:
        inputs = {
            "numeric": np.array([numeric], dtype=np.float32),
            "categorical": np.array([categorical], dtype=object),
        }
        (scores,) = self._session.run(["score"], inputs)
        return float(np.asarray(scores).reshape(-1)[0])
