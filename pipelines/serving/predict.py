"""From calls to logged predictions: features, route, every version's scores, the log, for many calls at once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import wait
from datetime import datetime
from functools import partial
from itertools import islice

from sqlalchemy.exc import SQLAlchemyError

from pipelines.artifacts.model import ModelRef
from pipelines.context import Context
from pipelines.errors import InvalidInput, Unavailable
from pipelines.online.places import UTC_SQLITE
from pipelines.records import Prediction, PredictionLog
from pipelines.serving.beside import Beside
from pipelines.serving.calls import Answered, Call, NewRequest, unused_ids
from pipelines.serving.features import RequestFeatures
from pipelines.serving.metrics import Metrics
from pipelines.serving.routing import Route, Router
from pipelines.serving.run import Run
from pipelines.serving.schemas import Refusal
from pipelines.serving.scoring import VersionScores, score
from pipelines.serving.writer import LogWriter

CallResult = list[Answered] | Exception


class Predictor:
    """Answers the requests of one use case, and logs before it answers."""

    def __init__(self, context: Context, router: Router, metrics: Metrics, writer: LogWriter) -> None:
        self._context, self._router, self._metrics, self._writer = context, router, metrics, writer
        self._log, self._rules = context.predictions, context.params.serving
        local = context.feast.config.online_store.type == UTC_SQLITE
        self._quick_log = context.quick_predictions if local else None
        self._beside: tuple[ModelRef, Beside] | None = None  # of the challenger of the plan that is served
        self._noted: Route | None = None  # by the metrics

    def answer(self, calls: Sequence[Call]) -> list[CallResult]:
        """The answers to each call in the order of its requests, or the error for it.

        That is a Refusal: 409 if an id was used for another request, 422 if one cannot be logged, 503 if no version
        can answer. Then nothing of the call is logged. What fails for all calls together is tried for each alone, so
        that no call fails by what another one sent.
        """
        try:
            with self._writer.writing() as at:
                return self._answer(calls, at, self._log)
        except (SQLAlchemyError, Unavailable, Refusal) as error:  # of all, and it takes its time
            return [error] * len(calls)
        except Exception as error:
            return [error] if len(calls) == 1 else [self.answer([call])[0] for call in calls]

    def answer_at_once(self, calls: Sequence[Call]) -> list[CallResult] | None:
        """As `answer` where it waits for nobody; None, without a trace, where it would, or fails."""
        if self._quick_log is None or (self._beside is not None and self._beside[1].is_slow):
            return None
        try:
            with self._writer.writing() as at:
                return self._answer(calls, at, self._quick_log)
        except Exception:  # of which `answer` says what it is, and to whom
            return None

    def _answer(self, calls: Sequence[Call], at: datetime, log: PredictionLog) -> list[CallResult]:
        outcomes: dict[int, CallResult] = {**self._prepare(calls, at, log)}
        spans: dict[int, range] = {}  # of each call's requests among all of the run
        requests: list[NewRequest] = []
        for number, call in enumerate(calls):
            if number not in outcomes:
                spans[number] = range(len(requests), len(requests) + len(call.new))
                requests += call.new
        run = self._run(requests, at) if requests else None
        if run and len(calls) > 1 and any(of.unread for of in run.scores.values()):
            raise InvalidInput("a request of several calls is no input of a model")  # so each is tried alone
        if run and run.refusals:
            for number, span in [*spans.items()]:
                if refused := run.refusals.keys() & span:
                    outcomes[number] = run.refusals[min(refused)]
                    del spans[number]
        kept = [n for span in spans.values() for n in span]
        answers, logged = self._log_run(run, kept, log) if run else ([], [])
        next_answers, next_logged = iter(answers), iter(logged)
        for number, span in spans.items():
            fresh = [*islice(next_answers, len(span))]
            outcomes[number] = _settle(calls[number], fresh, [*islice(next_logged, len(span))])
        return [outcomes[number] for number in range(len(calls))]

    def _prepare(self, calls: Sequence[Call], at: datetime, log: PredictionLog) -> dict[int, Refusal]:
        """Find the new requests of each call, and give the refusals by the call's position."""
        ids = [identity for call in calls for identity in call.named]
        earlier = {prediction.prediction_id: prediction for prediction in log.get(ids)} if ids else {}
        refusals, ours = {}, unused_ids(sum(len(call.items) for call in calls), at)
        for number, call in enumerate(calls):
            try:
                call.prepare(self._context.usecase, earlier, at, ours)
            except Refusal as refusal:
                refusals[number] = refusal
        return refusals

    def _run(self, requests: Sequence[NewRequest], at: datetime) -> Run:
        """Score all requests with all versions, and choose the version that answers each."""
        route = self._router.route()
        features = route.layout.read([request.values for request in requests], at)
        assigned = route.assigned([request.entity for request in requests])
        scores = self._score(route, features, assigned)
        run = Run(requests, at, route, features, scores, assigned)
        run.choose(refuse_stale=self._rules.when_stale == "refuse")
        return run

    def _score(self, route: Route, features: RequestFeatures, assigned: Sequence[str]) -> dict[str, VersionScores]:
        """The scores of each version; none of a challenger that is too late and is not to answer."""
        champion, challenger = route.plan.champion, route.plan.challenger
        works = {
            version: partial(score, version, loaded, route.layout, features)
            for version, loaded in route.versions.items()
        }
        if challenger is None or challenger not in works or challenger == champion:
            self._beside = None
            return {champion: works[champion]()}
        answers = challenger in assigned
        limit = (self._rules.challenger_wait_ms if answers else self._rules.shadow_wait_ms) / 1000
        future = self._beside_of(route).begin(works[challenger], limit if answers else 0)
        scores = {champion: works[champion]()}
        done = wait([future], limit).done if future else set()
        if future in done and future:
            scores[challenger] = future.result()
        elif answers:
            scores[challenger] = VersionScores.none(features.rows, f"no score within {1000 * limit:g} ms")
        return scores

    def _beside_of(self, route: Route) -> Beside:
        """The thread of the challenger: of an earlier one that hangs, no later one has to bear the consequences."""
        model = route.plan.challenger_model
        if model is not None and (self._beside is None or self._beside[0] != model):
            self._beside = model, Beside("challenger")
        assert self._beside is not None  # there is a challenger
        return self._beside[1]

    def _log_run(self, run: Run, kept: Sequence[int], log: PredictionLog) -> tuple[list[Answered], list[Prediction]]:
        """Log some of a run's requests. Their answers, and the logged predictions if an id of them was there before."""
        batch = run.batch(kept) if kept else None
        logged = (log.append_batch(batch) or []) if batch else []
        self._note(run)  # not before: a run may be made again
        if batch is None:
            return [], []
        self._metrics.note_predictions(batch.served, batch.milliseconds)
        return [Answered.of(one) for one in logged] if logged else run.answers(batch), logged

    def _note(self, run: Run) -> None:
        route, challenger = run.route, run.route.plan.challenger
        if route is not self._noted:
            self._metrics.note_models(route.plan.version, route.loaded)
            self._noted = route
        self._metrics.note_absences(route.layout.absences(run.features))
        self._metrics.note_errors({version: len(of.errors) for version, of in run.scores.items()})
        if challenger and route.loaded.get(challenger) and run.is_late(challenger):
            self._metrics.note_late(challenger, len(run.requests))


def _settle(call: Call, fresh: Sequence[Answered], logged: Sequence[Prediction]) -> CallResult:
    try:
        if logged:
            call.require_same(logged)
        return call.answers(fresh)
    except Refusal as refusal:
        return refusal
