"""uvicorn's HTTP, with a short path for predictions: a task and two messages of ASGI cost more than the answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from pipelines.serving.calls import Answered
from pipelines.serving.responses import failure, problem
from pipelines.serving.server import PREDICTIONS, Server

Headers = Iterable[tuple[bytes, bytes]]
JSON = (b"content-type", b"application/json")
LONGEST = 65_536  # bytes of a head: request line and headers
WITHIN = 10.0  # seconds from its first byte, or from the beginning of the connection
TOO_LONG = f"the request line and the headers are longer than {LONGEST} bytes; send fewer or shorter headers"


class PredictionProtocol(HttpToolsProtocol):
    """One connection. Predictions whose body has come with their head are answered here, all else by the app.

    uvicorn sets no limits to a head. One that is too long is refused with 431, one that takes too long with 408.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._model_server: Server | None = getattr(getattr(self.app, "state", None), "server", None)
        self._is_feeding = False
        self._held: tuple[RequestResponseCycle, Any] | None = None
        self._head_bytes = 0  # of a head that has come in part; -1 once one was refused
        self._may_be_long = False  # whether a head of this connection may be
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(WITHIN, self._is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._head_bytes < 0:
            return
        before = self.cycle
        is_head = before is None or not before.more_body or self._has_part_of_head
        self._is_feeding = True
        super().data_received(data)
        self._is_feeding = False
        if len(data) > LONGEST:
            self._may_be_long = True
        if self._held:
            (cycle, app), self._held = self._held, None
            self._start(cycle, app)
        if self._has_part_of_head:
            if is_head and self.cycle is before:
                self._head_bytes += len(data)
            else:
                self._forget_head()  # another one has begun, somewhere in the data
            self._await_head()
        elif self._head_timer is not None:
            self._forget_head()

    @property
    def _has_part_of_head(self) -> bool:
        return self.scope is not None and (self.cycle is None or self.cycle.scope is not self.scope)

    def _await_head(self) -> None:
        """Wait for the end of a head, of which some bytes have come, or refuse it."""
        self._may_be_long = True
        if self._head_bytes > LONGEST:
            self._refuse_head(431, TOO_LONG)
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(WITHIN, self._is_late)

    def _forget_head(self) -> None:
        self._head_bytes = min(0, self._head_bytes)
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _is_late(self) -> None:
        self._head_timer = None
        if self.flow.read_paused:  # until earlier calls are answered
            self._await_head()
        elif self.scope is None:
            self.transport.close()
        elif self in self.connections:  # and not taken over by a web socket
            self._refuse_head(408, f"the headers did not come within {WITHIN:g} s; send the call again")

    def _refuse_head(self, status: int, detail: str) -> None:
        """Read no more; say why where no call waits for its answer, and end the connection once all have theirs."""
        self._forget_head()
        self._head_bytes = -1
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
        elif not self.transport.is_closing():
            response = problem(status, detail)
            self.transport.write(self._written(status, response.raw_headers, bytes(response.body), keep_alive=False))
            self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if self._is_feeding:
            self._held = cycle, app  # its body may be in the same data
        else:
            self._start(cycle, app)

    def _start(self, cycle: RequestResponseCycle, app: Any) -> None:
        server, scope = self._model_server, cycle.scope
        if self._may_be_long and _head_size(scope) > LONGEST:
            cycle.keep_alive = False
            response = problem(431, TOO_LONG)
            self.answer(cycle, 431, response.raw_headers, bytes(response.body))
        elif (
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
            self.transport.write(self._written(status, headers, body, cycle.keep_alive))
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        if self.pipeline:  # later: whoever tells many callers is not to answer their next calls meanwhile
            self.loop.call_soon(cycle.on_response)
        else:
            cycle.on_response()

    def _written(self, status: int, headers: Headers, body: bytes, keep_alive: bool) -> bytes:
        content = [STATUS_LINE[status]]
        for name, value in (*self.server_state.default_headers, *headers):
            content += (name, b": ", value, b"\r\n")
        content += (b"\r\n" if keep_alive else b"connection: close\r\n\r\n", body)
        return b"".join(content)


def _head_size(scope: Any) -> int:
    """Bytes of a request's head, but for its method and version."""
    fields = sum(len(name) + len(value) + 4 for name, value in scope["headers"])
    return len(scope["raw_path"]) + len(scope["query_string"]) + fields


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
