"""Our protocol's short way with a constant in the model server's place: `python -m benchmarks.constant_at PORT`."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import uvicorn

from benchmarks.peers import raw_asgi
from pipelines.serving.protocol import PredictionProtocol
from pipelines.settings import Settings

SCORES: list[Any] = [{"score": 0.5}]


class Constant:
    """An app whose predictions are answered as soon as their body is there."""

    def __init__(self) -> None:
        self.state = SimpleNamespace(server=self)
        self.context = SimpleNamespace(settings=Settings())
        self.metrics = SimpleNamespace(note_call=lambda *_: None)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """All else, such as whether it is there."""
        await raw_asgi.constant(scope, receive, send)

    def begin(self, body: bytes, caller: Any) -> None:
        caller.set_result(SCORES)


if __name__ == "__main__":
    where = {"host": "127.0.0.1", "port": int(sys.argv[1]), "access_log": False, "proxy_headers": False}
    options: dict[str, Any] = {**where, "http": PredictionProtocol, "loop": "uvloop", "log_level": "warning"}
    uvicorn.run(Constant(), **options)
