"""From calls to logged predictions: features, route, every version's scores, the log, for many calls at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from pipelines.context import Context
from pipelines.errors import Unavailable
from pipelines.records import Lack, Prediction
from pipelines.serving.beside import Beside
from pipelines.serving.calls import Call, NewRequest
from pipelines.serving.features import Features
from pipelines.serving.metrics import Metrics
from pipelines.serving.routing import Route, Router
from pipelines.serving.schemas import Refusal
from pipelines.serving.scoring import VersionScores, score
from pipelines.serving.writer import LogWriter

Answered = list[Prediction] | Exception


class Predictor:
    """Answers the requests of one use case, and logs before it answers."""

    def __init__(self, context: Context, router: Router, metrics: Metrics, writer: LogWriter) -> None:
        self._context, self._router, self._metrics, self._writer = context, router, metrics, writer
        self._log, self._rules = context.predictions, context.params.serving
        self._beside = Beside("challenger")

    def answer(self, calls: Sequence[Call]) -> list[Answered]:
        """The logged predictions of each call in the order of its requests, or the error for it.

        That is a Refusal: 409 if an id was used for another request, 422 if one cannot be logged, 503 if no version
        can answer. Then nothing of the call is logged. What fails for all calls together is tried for each alone, so
        that no call fails by what another one sent.
        """
        try:
            with self._writer.writing() as at:
                return self._answer(calls, at)
        except (SQLAlchemyError, Unavailable, Refusal) as error:  # of all, and it takes its time
            return [error] * len(calls)
        except Exception as error:
            return [error] if len(calls) == 1 else [self.answer([call])[0] for call in calls]

    def _answer(self, calls: Sequence[Call], at: datetime) -> list[Answered]:
        answered: dict[int, Answered] = {**self._prepare(calls, at)}
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

    def _prepare(self, calls: Sequence[Call], at: datetime) -> dict[int, Refusal]:
        """Find the new requests of each call, and give the refusals by the call's position."""
        ids = [identity for call in calls for identity in call.ids if identity is not None]
        earlier = {prediction.prediction_id: prediction for prediction in self._log.get(ids)} if ids else {}
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
        assigned = [route.assigned(request.entity) for request in requests]
        by_version = self._score(route, features, assigned)
        self._metrics.note_absences(route.layout.absences(features))
        self._metrics.note_errors({version: sum(map(bool, of.errors)) for version, of in by_version.items()})
        return self._predictions(requests, assigned, route, features, by_version)

    def _score(self, route: Route, features: Features, assigned: Sequence[str]) -> dict[str, VersionScores]:
        """The scores of each version; none of a challenger that is too late and is not to answer."""
        champion, challenger = route.plan.champion, route.plan.challenger
        works = {
            version: partial(score, version, loaded, route.layout, features)
            for version, loaded in route.versions.items()
        }
        if challenger is None or challenger not in works or challenger == champion:
            return {champion: works[champion]()}
        future = self._beside.begin(works[challenger])
        scores = {champion: works[champion]()}
        answers = challenger in assigned
        wait = self._rules.challenger_wait_ms if answers else self._rules.shadow_wait_ms
        try:
            if future is None:
                raise TimeoutError
            scores[challenger] = future.result(wait / 1000)
        except TimeoutError:
            self._metrics.note_late(challenger, features.rows)
            if answers:
                late = f"no score within {wait:g} ms"
                scores[challenger] = VersionScores([None] * features.rows, [late] * features.rows)
        return scores

    def _predictions(
        self,
        requests: Sequence[NewRequest],
        assigned: Sequence[str],
        route: Route,
        features: Features,
        by_version: Mapping[str, VersionScores],
    ) -> list[Prediction | Refusal]:
        inputs = _inputs_for_log(route, by_version, len(requests))
        ages, lacks = route.layout.ages(features), features.lacks
        versions = route.versions
        times = {version: of.milliseconds for version, of in by_version.items() if of.milliseconds is not None}
        made: list[Prediction | Refusal] = []
        for n, request in enumerate(requests):
            try:
                if lacks[n] is Lack.STALE and self._rules.when_stale == "refuse":
                    raise Refusal(503, f"request {request.number}: stored features are stale; send it again later")
                served, number = _choose(assigned[n], request, by_version, n)
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
                    decision=versions[served].decides(number),
                    lacks=lacks[n],
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


def _choose(assigned: str, request: NewRequest, by_version: Mapping[str, VersionScores], n: int) -> tuple[str, float]:
    """The version that answers a request, and its score: the assigned version, or the other one if that failed.

    Raises:
        Refusal: 503 if all failed.
    """
    for version in (assigned, *(other for other in by_version if other != assigned)):
        number = by_version[version].scores[n]
        if number is not None:
            return version, number
    reasons = "; ".join(f"version {version}: {of.errors[n]}" for version, of in by_version.items())
    raise Refusal(503, f"request {request.number} could not be scored ({reasons}); send it again later")
