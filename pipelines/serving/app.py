"""The HTTP side of the model server: bodies in, answers out, and nothing above 499 but 503."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi_offline import FastAPIOffline
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from pipelines.context import Context
from pipelines.errors import FlightdeckError
from pipelines.failure import one_line, trace
from pipelines.records import Arrival
from pipelines.serving.document import answers, body, describe
from pipelines.serving.failures import reason
from pipelines.serving.metrics import Metrics
from pipelines.serving.predict import Predictor
from pipelines.serving.routing import Router
from pipelines.serving.schemas import (
    Alive,
    Answer,
    Answers,
    Ready,
    Receipts,
    Received,
    Refused,
    Rollout,
    Unready,
    outcome_envelope,
    prediction_envelope,
)

log = logging.getLogger(__name__)


class Server:
    """What the endpoints do, without HTTP."""

    def __init__(self, context: Context) -> None:
        settings = context.settings
        self.context = context
        self.metrics = Metrics()
        self.requests = prediction_envelope(context.usecase, settings.serving_max_batch)
        self.outcomes = outcome_envelope(settings.serving_max_batch)
        self.feast = context.feast
        self.router = Router(context)
        self.predictor = Predictor(context, self.router, self.metrics)
        self.log = context.predictions

    def predict(self, body: bytes) -> Response:
        kept = self.predictor.answer(self.requests.parse(body))
        answers = [
            Answer(id=p.prediction_id, score=p.score, version=p.served, plan=p.plan)
            for p in kept
            if p.score is not None
        ]
        return _json(200, Answers(predictions=answers).model_dump())

    def record(self, body: bytes) -> Response:
        """200 where every outcome is, or was, recorded, else 409 or 404; the good ones are recorded all the same."""
        sent = self.outcomes.parse(body)
        now = self.context.clock.now()
        arrivals = self.log.record_outcomes([(outcome.id, outcome.label, now) for outcome in sent])
        self.metrics.note_outcomes(arrivals)
        received = [Received(id=o.id, status=arrival.value) for o, arrival in zip(sent, arrivals, strict=True)]
        status, error = 200, None
        if Arrival.CONTRADICTS in arrivals:
            first = sent[arrivals.index(Arrival.CONTRADICTS)]
            status, error = 409, f"prediction {first.id!r} has another label, and the first one stands"
        elif Arrival.UNKNOWN in arrivals:
            first = sent[arrivals.index(Arrival.UNKNOWN)]
            status, error = 404, f"no prediction has the id {first.id!r}; send the id that the prediction was given"
        return _json(status, Receipts(outcomes=received, error=error).model_dump(exclude_none=True))

    def rollout(self) -> Response:
        plan = self.router.plan()
        told = None if plan is None else {**asdict(plan), "since": plan.since.isoformat()}
        return _json(200, {"plan": told})

    def ready(self) -> Response:
        """503 until everything that a prediction needs answers; problems of a challenger do not make it unready."""
        try:
            route = self.router.route()
            self.context.clock.now()
            self.feast.registry.list_feature_services(self.context.usecase.name, allow_cache=False)
        except Exception as error:
            return _json(503, {"ready": False, "problems": [reason(error)]})
        self.metrics.note_models(route.plan.version, route.loaded)
        return _json(
            200, {"ready": True, "plan": route.plan.version, "loaded": route.loaded, "problems": list(route.problems)}
        )


def create_app(context: Context) -> FastAPI:
    """The model server of the context's use case.

    Raises:
        InvalidInput: if the use case's request model does not fit its request columns.
    """
    server = Server(context)

    @asynccontextmanager
    async def warmed(_: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(server.ready)  # loads the models before the first request
        yield

    about = "Bodies are JSON, whatever content type they claim. An error says in `error` what to do."
    # Swagger UI comes from a package and not from a CDN; there is no second page beside it
    app = FastAPIOffline(
        redoc_url=None, title=f"{context.usecase.name}: model server", description=about, lifespan=warmed
    )
    app.state.server = server

    async def answered(endpoint: str, work: Callable[..., Response], request: Request | None = None) -> Response:
        began = time.perf_counter()
        try:
            sent = [] if request is None else [await _read(request, context.settings.serving_max_bytes)]
            response = await run_in_threadpool(work, *sent)
        except Exception as error:
            response = _failure(error)
        server.metrics.note_call(endpoint, response.status_code, time.perf_counter() - began)
        return response

    @app.exception_handler(HTTPException)
    async def elsewhere(request: Request, error: HTTPException) -> Response:
        """A path that there is not, or a method that a path does not have."""
        said = f"{request.method} {request.url.path[:200]}: {error.detail.lower()}; /docs lists what there is"
        return JSONResponse({"error": said}, error.status_code, error.headers)

    @app.post(
        "/v1/predictions",
        response_model=Answers,
        responses=answers(400, 409, 413, 422, 503),
        openapi_extra=body(server.requests),
    )
    async def predictions(request: Request) -> Response:
        """Score one request, or {"requests": [...]}. An `id` of the client's makes the call repeatable."""
        return await answered("predictions", server.predict, request)

    @app.post(
        "/v1/outcomes",
        response_model=Receipts,
        responses=answers(400, 413, 422, 503, status_404=Receipts, status_409=Receipts),
        openapi_extra=body(server.outcomes),
    )
    async def outcomes(request: Request) -> Response:
        """Tell what came of a prediction, or {"outcomes": [...]}; the first label of a prediction stands."""
        return await answered("outcomes", server.record, request)

    @app.get("/v1/rollout", response_model=Rollout, responses=answers(503))
    async def rollout() -> Response:
        """The routing plan in force; null before the first."""
        return await answered("rollout", server.rollout)

    @app.get("/healthz", response_model=Alive)
    async def healthy() -> Response:
        """Whether the process answers."""
        return _json(200, {"status": "ok"})

    @app.get("/readyz", response_model=Ready, responses=answers(status_503=Unready))
    async def ready() -> Response:
        """Whether a prediction could be made now, and what is wrong."""
        return await answered("readyz", server.ready)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """For Prometheus."""
        return Response(server.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    describe(app, (server.requests, server.outcomes))
    return app


async def _read(request: Request, limit: int) -> bytes:
    """The body, read no further than the limit."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise Refused(413, f"the body is longer than {limit} bytes; send it in several calls")
    return bytes(body)


def _failure(error: Exception) -> Response:
    """Our refusals as they are; anything else is 503, since the same call may pass later."""
    match error:
        case Refused():
            told = {"error": str(error), "problems": error.problems} if error.problems else {"error": str(error)}
            return _json(error.status, told)
        case ClientDisconnect():
            return _json(400, {"error": "the body ended before it was whole; send it again"})
        case FlightdeckError():
            return _json(503, {"error": reason(error)})
        case SQLAlchemyError() | sqlite3.Error():
            log.error("database: %s", one_line(error))
            return _json(503, {"error": f"a database is unavailable ({reason(error)}); nothing was logged"})
    log.error("unexpected: %s", trace(error))
    return _json(503, {"error": f"{reason(error)}; nothing was answered"})


def _json(status: int, content: Any) -> Response:
    return JSONResponse(content, status, {"retry-after": "1"} if status == 503 else None)
