"""The model server with a clock that starts at an instant of the past: `python -m benchmarks.serving_at PORT`.

AT is the instant; WORKERS, the number of processes. Params and home are those of FLIGHTDECK_PARAMS and FLIGHTDECK_HOME.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from typing import Any

import uvicorn
from fastapi import FastAPI

from pipelines.context import build_context
from pipelines.serving.app import create_app
from pipelines.serving.protocol import PredictionProtocol
from pipelines.serving.workers import settle


class Shifted:
    """Wall time, shifted so that it was `at` when the server started."""

    def __init__(self, at: datetime) -> None:
        self._by = at - datetime.now(UTC)

    def now(self) -> datetime:
        return datetime.now(UTC) + self._by


def served() -> FastAPI:
    app = create_app(build_context().replaced(clock=Shifted(datetime.fromisoformat(os.environ["AT"]))))
    settle()
    return app


if __name__ == "__main__":
    workers = int(os.environ.get("WORKERS", "1"))
    where = {"host": "127.0.0.1", "port": int(sys.argv[1]), "access_log": False, "proxy_headers": False}
    options: dict[str, Any] = {**where, "http": PredictionProtocol, "log_level": "warning"}
    uvicorn.run("benchmarks.serving_at:served", factory=True, workers=workers, **options)
