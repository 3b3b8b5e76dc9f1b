"""The HTTP side of the model server; the only status above 499 is 503."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.types import Receive

from pipelines.clock import ReplayClock
from pipelines.context import Context
from pipelines.serving.document import answers, body, describe
from pipelines.serving.metrics import Metrics
from pipelines.serving.responses import failure, json_response, problem
from pipelines.serving.schemas import (
    Alive,
    Answers,
    PredictionAnswer,
    Ready,
    Receipts,
    Refusal,
    RefusedReceipts,
    RolloutState,
    Unready,
)
from pipelines.serving.server import PREDICTIONS, Server


def create_app(context: Context, metrics: Metrics | None = None) -> FastAPI:
    """Build the model server of the context's use case.

    Args:
        metrics: those of a process among several.

    Raises:
        InvalidInput: if the use case's request model does not fit its request columns.
    """
    server = Server(context, metrics or Metrics())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        server.checkpoints.begin()
        await run_in_threadpool(server.writer.begin)
        with suppress(Refusal):  # it may get ready later
            await run_in_threadpool(server.ready)  # loads the models before the first request
        if not isinstance(context.clock, ReplayClock):
            await run_in_threadpool(server.router.follow)
        yield
        await run_in_threadpool(server.gatherer.close)
        await run_in_threadpool(server.router.close)
        await run_in_threadpool(server.writer.end)
        await run_in_threadpool(server.checkpoints.end)
        server.metrics.leave()

    description = "Bodies are JSON, whatever their content type. `detail` of a failure says what to do."
    # Swagger UI comes from a package and not from a CDN; there is no second page beside it
    app = FastAPIOffline(
        redoc_url=None, title=f"{context.usecase.name}: model server", description=description, lifespan=lifespan
    )
    app.state.server = server
    app.exception_handler(HTTPException)(_not_found)
    _add_model_endpoints(app, server)
    _add_process_endpoints(app, server)
    describe(app, (server.requests, server.outcomes))
    return app


def _add_model_endpoints(app: FastAPI, server: Server) -> None:
    """Predictions, their outcomes, and the routing plan that they follow."""

    @app.post(
        PREDICTIONS,
        response_model=Answers,
        responses=answers(400, 409, 413, 422, 429, 503),
        openapi_extra=body(server.requests),
    )
    async def predictions(request: Request) -> Response:
        """Score one request, or {"requests": [...]}. A request with an `id` can be repeated safely."""
        return await _respond(server, "predictions", server.predict, request.receive)

    @app.get(PREDICTIONS + "/{identity:path}", response_model=PredictionAnswer, responses=answers(404, 503))
    async def prediction(identity: str) -> Response:
        """The answer that the request with this id got."""
        return await _respond(server, "prediction", partial(run_in_threadpool, server.look_up, identity))

    @app.post(
        "/v1/outcomes",
        response_model=Receipts,
        responses=answers(400, 413, 422, 503, status_404=RefusedReceipts, status_409=RefusedReceipts),
        openapi_extra=body(server.outcomes),
    )
    async def outcomes(request: Request) -> Response:
        """Report the outcome of a prediction, or {"outcomes": [...]}; the first label of a prediction is final."""
        return await _respond(server, "outcomes", _in_thread(server.record), request.receive)

    @app.get("/v1/rollout", response_model=RolloutState, responses=answers(503))
    async def rollout() -> Response:
        """The routing plan in force; null before the first."""
        return await _respond(server, "rollout", _in_thread(server.rollout))


def _add_process_endpoints(app: FastAPI, server: Server) -> None:
    """What supervisors and Prometheus ask of the process."""

    @app.get("/healthz", response_model=Alive)
    async def healthy() -> Response:
        """Whether the process answers."""
        return json_response(200, {"status": "ok"})

    @app.get("/readyz", response_model=Ready, responses=answers(status_503=Unready))
    async def ready() -> Response:
        """Whether predictions can be made now, and what prevents them."""
        return await _respond(server, "readyz", _in_thread(server.ready))

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Metrics for Prometheus."""
        return Response(server.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _respond(
    server: Server, endpoint: str, work: Callable[..., Awaitable[Response]], receive: Receive | None = None
) -> Response:
    """Answer a call by work on its body, if it is to have one; count and time the call."""
    began = time.perf_counter()
    try:
        body = [] if receive is None else [await _read(receive, server.context.settings.serving_max_bytes)]
        response: Response = await work(*body)
    except (Exception, asyncio.CancelledError) as error:  # if it was cancelled, uvicorn would answer 500
        response = failure(error)
    server.metrics.note_call(endpoint, response.status_code, time.perf_counter() - began)
    return response


def _in_thread(work: Callable[..., Response]) -> Callable[..., Awaitable[Response]]:
    """Work that waits for a database, off the event loop."""

    async def call(*arguments: Any) -> Response:
        return await run_in_threadpool(work, *arguments)

    return call


async def _not_found(request: Request, error: HTTPException) -> Response:
    """The answer for an unknown path, or a method that a path does not have."""
    message = f"{request.method} {request.url.path[:200]}: {error.detail.lower()}; /docs lists the endpoints"
    return problem(error.status_code, message, error.headers)


async def _read(receive: Receive, limit: int) -> bytes:
    """Read the body, up to the limit."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(400, "the body ended early; send it again")
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > limit:
            raise Refusal(413, f"the body is longer than {limit} bytes; send it in several calls")
    return body
