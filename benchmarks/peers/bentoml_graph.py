"""BentoML with the graph and nothing else."""

from __future__ import annotations

from typing import Any

import bentoml

from benchmarks.peers.graph import Graph


@bentoml.service(workers=1)
class Scores:
    def __init__(self) -> None:
        self.graph = Graph()

    @bentoml.api
    def predict(self, numeric: list[Any], categorical: list[str]) -> float:
        return self.graph.score(numeric, categorical)
