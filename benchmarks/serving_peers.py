"""The peers of the model server under load: bare graphs and a constant, each started alone, on a free port."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

from benchmarks.load import Measured, Target, serving

VERSIONS = 'from importlib.metadata import version as v; print(f\'; BentoML {v("bentoml")}, LitServe {v("litserve")}\')'


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Peers:
    """Servers of one model's graph.

    Args:
        model: the folder of the model.
        folder: has the bodies of `benchmarks.serving`.
        seconds: of a load.
        python: of an environment with BentoML and LitServe; None where they are left out.
    """

    def __init__(self, model: str, folder: Path, seconds: float, python: str | None) -> None:
        self.model, self.folder, self.seconds, self.python = model, folder, seconds, python

    def measure(self, name: str) -> Measured | None:
        """A peer under 16 connections; None where it is not installed."""
        port = free_port()
        url, bodies, variables = f"http://127.0.0.1:{port}", "bare", {"BENCHMARK": self.model}
        command = self._command(name, str(port))
        if command is None:
            return None
        path = "/predict"
        if name == "mlflow":
            path, bodies = "/invocations", "mlflow"
        with serving(command, url, "/", variables) as process:
            target = Target(url, path, self.folder / bodies, process)
            target.put(16, self.seconds / 2)  # warm
            return target.put(16, self.seconds)

    def _command(self, name: str, port: str) -> list[str] | None:
        """The command of a peer; None where it is not installed."""
        if name in ("constant", "graph"):
            app = ["--factory", f"benchmarks.peers.fastapi_graph:{name}"]
            return [sys.executable, "-m", "uvicorn", "--port", port, "--no-access-log", *app]
        if name == "mlflow":
            program = str(Path(sys.executable).with_name("mlflow"))
            where = ["--env-manager", "local", "-m", str(self._mlflow_model()), "-p", port, "-w", "1"]
            return [program, "models", "serve", *where]
        if self.python is None:
            return None
        if name == "bentoml":
            return [self.python, "-m", "bentoml", "serve", "--port", port, "benchmarks.peers.bentoml_graph:Scores"]
        return [self.python, "-m", "benchmarks.peers.litserve_graph", port]

    def _mlflow_model(self) -> Path:
        import mlflow.onnx
        import onnx
        from mlflow.models import ModelSignature
        from mlflow.types import Schema, TensorSpec

        place = self.folder / "model"
        if not place.exists():
            import numpy as np

            specs = [
                TensorSpec(np.dtype(np.float32), (-1, -1), "numeric"),
                TensorSpec(np.dtype(np.str_), (-1, -1), "categorical"),
            ]
            graph = onnx.load(str(Path(self.model) / "model.onnx"))
            mlflow.onnx.save_model(graph, str(place), signature=ModelSignature(Schema(specs)))
        return place

    def versions(self) -> str:
        """Those of the peers that are installed apart, to be read after others."""
        if self.python is None:
            return ""
        return subprocess.run([self.python, "-c", VERSIONS], capture_output=True, text=True, check=True).stdout.strip()
