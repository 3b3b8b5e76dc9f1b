"""The work of the model server's endpoints."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial

from fastapi import Response

from pipelines.context import Context
from pipelines.online.standing import online_stands_at, standing_problem
from pipelines.records import Arrival
from pipelines.serving.calls import Answered, Call
from pipelines.serving.failures import reason
from pipelines.serving.gathering import Caller, Gatherer
from pipelines.serving.metrics import Metrics
from pipelines.serving.predict import Predictor
from pipelines.serving.responses import json_response
from pipelines.serving.routing import Router
from pipelines.serving.schemas import Refusal, outcome_envelope, prediction_envelope
from pipelines.serving.writer import LogWriter

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
        gatherer = partial(
            Gatherer[Call, list[Answered]],
            size=lambda call: len(call.items),
            most=settings.serving_max_batch,
            limit=settings.serving_max_waiting,
            patience=settings.serving_patience,
        )
        self.gatherer = gatherer(self.predictor.answer, at_once=self.predictor.answer_at_once)
        self.gatherer.later = gatherer(self.predictor.answer_late)
        self.log = context.predictions

    async def predict(self, body: bytes) -> Response:
        return json_response(200, {"predictions": await self.gatherer.submit(Call(self.requests.parse(body)))})

    def begin(self, body: bytes, caller: Caller[list[Answered]]) -> None:
        """As `predict`, for a caller that gets the answers in the event loop.

        Raises:
            Refusal: if the body is invalid, or too many calls wait.
        """
        self.gatherer.enter(Call(self.requests.parse(body)), caller)

    def look_up(self, identity: str) -> Response:
        """The answer that a request got."""
        for one in self.log.get([identity]):
            return json_response(200, Answered.of(one))
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
        return json_response(200, {"outcomes": receipts})

    def rollout(self) -> Response:
        plan = self.router.plan()
        content = None if plan is None else {**asdict(plan), "since": plan.since.isoformat()}
        return json_response(200, {"plan": content})

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
        return json_response(
            200, {"ready": True, "plan": route.plan.version, "loaded": route.loaded, "problems": problems}
        )


def _unknown(identity: str, **more: object) -> Refusal:
    return Refusal(
        404, f"no prediction has the id {identity[:200]!r}; send the id from the prediction's answer", **more
    )
