"""From calls to logged predictions: features, route, every version's scores, the log, for many calls at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from pipelines.context import Context
from pipelines.records import Prediction
from pipelines.serving.calls import Call, NewRequest
from pipelines.serving.features import Features
from pipelines.serving.metrics import Metrics
from pipelines.serving.routing import Route, Router
from pipelines.serving.schemas import Refusal
from pipelines.serving.scoring import VersionScores, score

Answered = list[Prediction] | Exception


class Predictor:
    """Answers the requests of one use case, and logs before it answers."""

    def __init__(self, context: Context, router: Router, metrics: Metrics) -> None:
        self._context, self._router, self._metrics = context, router, metrics
        self._log = context.predictions

    def answer(self, calls: Sequence[Call]) -> list[Answered]:
        """The logged predictions of each call in the order of its requests, or the error for it.

        That is a Refusal: 409 if an id was used for another request, 422 if one cannot be logged, 503 if no version
        can answer. Then nothing of the call is logged. What fails for all calls together is tried for each alone, so
        that no call fails by what another one sent.
        """
        try:
            return self._answer(calls)
        except SQLAlchemyError as error:  # of all, and it takes its time
            return [error] * len(calls)
        except Exception as error:
            return [error] if len(calls) == 1 else [self.answer([call])[0] for call in calls]

    def _answer(self, calls: Sequence[Call]) -> list[Answered]:
        answered: dict[int, Answered] = {**self._prepare(calls)}
        waiting = {number: call for number, call in enumerate(calls) if number not in answered}
        made = iter(self._predict([request for call in waiting.values() for request in call.new]))
        scored: dict[int, list[Prediction]] = {}
        for number, call in waiting.items():
            of_call = [*islice(made, len(call.new))]
            refusal = next((one for one in of_call if isinstance(one, Refusal)), None)
            if refusal:
                answered[number] = refusal
            else:
                scored[number] = [one for one in of_call if isinstance(one, Prediction)]
        new = [prediction for of_call in scored.values() for prediction in of_call]
        logged = iter(self._log.append(new))
        self._metrics.note_predictions(new)
        for number, predictions in scored.items():
            answered[number] = _settle(calls[number], [*islice(logged, len(predictions))])
        return [answered[number] for number in range(len(calls))]

    def _prepare(self, calls: Sequence[Call]) -> dict[int, Refusal]:
        """Find the new requests of each call, and give the refusals by the call's position."""
        ids = [identity for call in calls for identity in call.ids if identity is not None]
        earlier = {prediction.prediction_id: prediction for prediction in self._log.get(ids)} if ids else {}
        at = self._context.clock.now()
        refusals = {}
        for number, call in enumerate(calls):
            try:
                call.prepare(self._context.usecase, earlier, at)
            except Refusal as refusal:
                refusals[number] = refusal
        return refusals

    def _predict(self, requests: Sequence[NewRequest]) -> list[Prediction | Refusal]:
        if not requests:
            return []
        route = self._router.route()
        self._metrics.note_models(route.plan.version, route.loaded)
        features = route.layout.read([request.values for request in requests], requests[0].at)
        by_version = {
            version: score(version, loaded, route.layout, features) for version, loaded in route.versions.items()
        }
        self._metrics.note_absences(route.layout.absences(features))
        self._metrics.note_errors({version: sum(map(bool, of.errors)) for version, of in by_version.items()})
        return self._predictions(requests, route, features, by_version)

    def _predictions(
        self,
        requests: Sequence[NewRequest],
        route: Route,
        features: Features,
        by_version: Mapping[str, VersionScores],
    ) -> list[Prediction | Refusal]:
        inputs = _inputs_for_log(route, by_version, len(requests))
        ages = route.layout.ages(features)
        times = {version: of.milliseconds for version, of in by_version.items() if of.milliseconds is not None}
        made: list[Prediction | Refusal] = []
        for n, request in enumerate(requests):
            try:
                served, number = _choose(route, request, by_version, n)
            except Refusal as refusal:
                made.append(refusal)
                continue
            made.append(
                Prediction(
                    prediction_id=request.identity,
                    entity=request.entity,
                    block=request.block.name,
                    closes_at=request.block.closes_at,
                    predicted_at=request.at,
                    request=request.body,
                    features=inputs[n],
                    ages=ages[n],
                    plan=route.plan.version,
                    share=route.plan.share,
                    served=served,
                    score=number,
                    scores={version: of.scores[n] for version, of in by_version.items()},
                    milliseconds=times if not any(isinstance(one, Prediction) for one in made) else {},
                    errors={version: of.errors[n] for version, of in by_version.items() if of.errors[n]},
                )
            )
        return made


def _settle(call: Call, logged: Sequence[Prediction]) -> Answered:
    try:
        return call.answers(logged)
    except Refusal as refusal:
        return refusal


def _inputs_for_log(route: Route, by_version: Mapping[str, VersionScores], rows: int) -> list[dict[str, Any]]:
    """What the versions read, one dict for each request."""
    inputs: list[dict[str, Any]] = [{} for _ in range(rows)]
    for version, of in by_version.items():
        if of.arrays is not None:
            for row, values in zip(inputs, route.layout.logged(version, of.arrays), strict=True):
                row.update(values)
    return inputs


def _choose(route: Route, request: NewRequest, by_version: Mapping[str, VersionScores], n: int) -> tuple[str, float]:
    """The version that answers a request, and its score: the assigned version, or the other one if that failed.

    Raises:
        Refusal: 503 if all failed.
    """
    assigned_version = route.assigned(request.entity)
    for version in (assigned_version, *(other for other in by_version if other != assigned_version)):
        number = by_version[version].scores[n]
        if number is not None:
            return version, number
    reasons = "; ".join(f"version {version}: {of.errors[n]}" for version, of in by_version.items())
    raise Refusal(503, f"request {request.number} could not be scored ({reasons}); send it again later")
