"""The HTTP side of the model server; the only status above 499 is 503."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from functools import partial
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse
from fastapi_offline import FastAPIOffline
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.types import Receive

from pipelines.clock import ReplayClock
from pipelines.context import Context
from pipelines.errors import FlightdeckError
from pipelines.failure import one_line, trace
from pipelines.online.standing import online_stands_at, standing_problem
from pipelines.records import Arrival
from pipelines.serving.calls import Answered, Call
from pipelines.serving.document import PROBLEM, RETRIED, answers, body, describe
from pipelines.serving.failures import reason
from pipelines.serving.front import Front
from pipelines.serving.gathering import Gatherer
from pipelines.serving.metrics import Metrics
from pipelines.serving.predict import Predictor
from pipelines.serving.routing import Router
from pipelines.serving.schemas import (
    Alive,
    Answer,
    Answers,
    Ready,
    Receipts,
    Refusal,
    RefusedReceipts,
    RolloutState,
    Unready,
    outcome_envelope,
    prediction_envelope,
)
from pipelines.serving.writer import LogWriter

log = logging.getLogger(__name__)
PREDICTIONS = "/v1/predictions"


class Server:
    """The work of the endpoints, without HTTP."""

    def __init__(self, context: Context, metrics: Metrics) -> None:
        settings = context.settings
        self.context = context
        self.metrics = metrics
        self.requests = prediction_envelope(context.usecase, settings.serving_max_batch)
        self.outcomes = outcome_envelope(settings.serving_max_batch)
        self.feast = context.feast
        self.router = Router(context)
        self.writer = LogWriter(context)
        self.checkpoints = context.records.checkpoints()
        self.predictor = Predictor(context, self.router, self.metrics, self.writer)
        self.gatherer = Gatherer(
            self.predictor.answer,
            lambda call: len(call.items),
            most=settings.serving_max_batch,
            limit=settings.serving_max_waiting,
            patience=settings.serving_patience,
            at_once=self.predictor.answer_at_once,
        )
        self.log = context.predictions

    async def predictions(self, receive: Receive) -> Response:
        return await _respond(self, "predictions", self._predict, receive)

    async def _predict(self, body: bytes) -> Response:
        answers = await self.gatherer.submit(Call(self.requests.parse(body)))
        return _json(200, {"predictions": answers})

    def look_up(self, identity: str) -> Response:
        """The answer that a request got."""
        for one in self.log.get([identity]):
            return _json(200, Answered.of(one))
        raise _unknown(identity)

    def record(self, body: bytes) -> Response:
        """Record outcomes; those that can be are recorded in any case.

        Raises:
            Refusal: 409 or 404 unless every outcome is recorded now or was before.
        """
        outcomes = self.outcomes.parse(body)
        with self.writer.writing() as now:
            arrivals = self.log.record_outcomes([(outcome.id, outcome.label, now) for outcome in outcomes])
        self.metrics.note_outcomes(arrivals)
        receipts = [{"id": o.id, "status": arrival.value} for o, arrival in zip(outcomes, arrivals, strict=True)]
        if Arrival.CONTRADICTS in arrivals:
            first = outcomes[arrivals.index(Arrival.CONTRADICTS)]
            error = f"prediction {first.id!r} has another label, and the first one is final"
            raise Refusal(409, error, outcomes=receipts)
        if Arrival.UNKNOWN in arrivals:
            raise _unknown(outcomes[arrivals.index(Arrival.UNKNOWN)].id, outcomes=receipts)
        return _json(200, {"outcomes": receipts})

    def rollout(self) -> Response:
        plan = self.router.plan()
        content = None if plan is None else {**asdict(plan), "since": plan.since.isoformat()}
        return _json(200, {"plan": content})

    def ready(self) -> Response:
        """503 until everything that a prediction needs is available; problems of a challenger do not matter."""
        try:
            route = self.router.route()
            self.router.plan()  # a route that is followed outlives the records, which the log needs
            ahead = standing_problem(online_stands_at(self.feast), self.context.clock.now())
        except Exception as error:
            raise Refusal(503, reason(error), ready=False) from error
        self.metrics.note_models(route.plan.version, route.loaded)
        problems = [*route.problems, *([ahead] if ahead else [])]
        return _json(200, {"ready": True, "plan": route.plan.version, "loaded": route.loaded, "problems": problems})


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
    app.middleware_stack = Front(app.build_middleware_stack(), {PREDICTIONS: server.predictions})
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
        return await server.predictions(request.receive)

    @app.get(PREDICTIONS + "/{identity:path}", response_model=Answer, responses=answers(404, 503))
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
        return _json(200, {"status": "ok"})

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
    except asyncio.CancelledError:  # uvicorn would answer 500
        response = _problem(503, "the server ends; send the call again later, a prediction with the same id")
    except Exception as error:
        response = _failure(error)
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
    return _problem(error.status_code, message, error.headers)


def _unknown(identity: str, **more: Any) -> Refusal:
    return Refusal(
        404, f"no prediction has the id {identity[:200]!r}; send the id from the prediction's answer", **more
    )


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


def _failure(error: Exception) -> Response:
    """The answer for an error: refusals have their status; any other error is 503, since a later call may succeed."""
    match error:
        case Refusal():
            return _problem(error.status, str(error), **error.more)
        case FlightdeckError():
            return _problem(503, reason(error))
        case SQLAlchemyError() | sqlite3.Error():
            log.error("database: %s", one_line(error))
            return _problem(503, f"a database is unavailable ({reason(error)}); nothing was logged")
    log.error("unexpected: %s", trace(error))
    return _problem(503, f"{reason(error)}; nothing was answered")


def _problem(status: int, detail: str, headers: Mapping[str, str] | None = None, **more: Any) -> Response:
    """A failure, in the form of RFC 9457; where the same call may succeed later it says when to try."""
    content = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more}
    again = {"retry-after": "1"} if status in RETRIED else {}
    return Response(msgspec.json.encode(content), status, {**(headers or {}), **again}, PROBLEM)


def _json(status: int, content: Any) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")
