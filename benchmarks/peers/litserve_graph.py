"""LitServe with the graph and nothing else: `python -m benchmarks.peers.litserve_graph PORT`."""

from __future__ import annotations

import sys
from typing import Any

import litserve

from benchmarks.peers.graph import Graph


class Scores(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.graph = Graph()

    def predict(self, x: dict[str, Any]) -> dict[str, float]:
        return {"score": self.graph.score(x["numeric"], x["categorical"])}


if __name__ == "__main__":
    server = litserve.LitServer(Scores(), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, num_api_servers=1)
