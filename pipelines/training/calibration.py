"""From log-odds to probabilities, the same in numpy and in the graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from pipelines.training.onnx_graph import Graph


class Calibration(Protocol):
    def apply(self, log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities (N,) of log-odds (N,)."""

    def add(self, graph: Graph, log_odds: str) -> str:
        """Add the same function to a graph; `log_odds` and the output, a probability, are (N, 1)."""


@dataclass(frozen=True)
class Uncalibrated:
    """Log-odds as they are."""

    def apply(self, log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(expit(log_odds), dtype=np.float64)

    def add(self, graph: Graph, log_odds: str) -> str:
        return graph.add("Sigmoid", log_odds)
