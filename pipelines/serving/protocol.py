"""uvicorn's HTTP, with a short path for predictions: a task and two messages of ASGI cost more than the answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from pipelines.serving.calls import Answered
from pipelines.serving.responses import failure
from pipelines.serving.server import PREDICTIONS, Server

Headers = Iterable[tuple[bytes, bytes]]
JSON = (b"content-type", b"application/json")


class PredictionProtocol(HttpToolsProtocol):
    """One connection. Predictions whose body arrives with their headers are answered here, all else by the app."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._model_server: Server | None = getattr(getattr(self.app, "state", None), "server", None)
        self._is_feeding = False
        self._held: tuple[RequestResponseCycle, Any] | None = None

    def data_received(self, data: bytes) -> None:
        self._is_feeding = True
        super().data_received(data)
        self._is_feeding = False
        if self._held:
            (cycle, app), self._held = self._held, None
            self._start(cycle, app)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if self._is_feeding:
            self._held = cycle, app  # its body may be in the same data
        else:
            self._start(cycle, app)

    def _start(self, cycle: RequestResponseCycle, app: Any) -> None:
        server, scope = self._model_server, cycle.scope
        if (
            server is None
            or app is not self.app  # but uvicorn's refusal of too many calls
            or cycle.more_body
            or scope["path"] != PREDICTIONS
            or scope["method"] != "POST"
            or len(cycle.body) > server.context.settings.serving_max_bytes
            or cycle.waiting_for_100_continue
            or self.flow.write_paused
        ):
            super()._start_asgi_task(cycle, app)
        else:
            _Prediction(self, cycle, server).begin()

    def answer(self, cycle: RequestResponseCycle, status: int, headers: Headers, body: bytes) -> None:
        """Write a response, and go on with the next request of the connection."""
        if not cycle.disconnected and not self.transport.is_closing():
            content = [STATUS_LINE[status]]
            for name, value in (*self.server_state.default_headers, *headers):
                content += (name, b": ", value, b"\r\n")
            content += (b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n", body)
            self.transport.write(b"".join(content))
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        if self.pipeline:  # later: whoever tells many callers is not to answer their next calls meanwhile
            self.loop.call_soon(cycle.on_response)
        else:
            cycle.on_response()


class _Prediction:
    """A call that waits for its answers; one of the server's tasks, so that its end waits for it, or cancels it."""

    def __init__(self, connection: PredictionProtocol, cycle: RequestResponseCycle, server: Server) -> None:
        self._connection, self._cycle, self._server = connection, cycle, server
        self._began = time.perf_counter()

    def begin(self) -> None:
        self._connection.tasks.add(self)  # type: ignore[arg-type]
        try:
            self._server.begin(bytes(self._cycle.body), self)
        except Exception as error:
            self.set_exception(error)

    def done(self) -> bool:
        return self._cycle.response_complete

    def set_result(self, answers: list[Answered]) -> None:
        body = msgspec.json.encode({"predictions": answers})
        self._answer(200, ((b"content-length", b"%d" % len(body)), JSON), body)

    def set_exception(self, error: Exception | asyncio.CancelledError) -> None:
        response = failure(error)
        self._answer(response.status_code, response.raw_headers, bytes(response.body))

    def cancel(self, msg: str | None = None) -> None:
        """End it, as the server ends a task that takes too long: soon, not while it goes through its tasks."""
        self._connection.loop.call_soon(self._cancelled, msg)

    def _cancelled(self, msg: str | None) -> None:
        if not self.done():
            self.set_exception(asyncio.CancelledError(msg))

    def _answer(self, status: int, headers: Headers, body: bytes) -> None:
        self._connection.tasks.discard(self)
        self._connection.answer(self._cycle, status, headers, body)
        self._server.metrics.note_call("predictions", status, time.perf_counter() - self._began)
