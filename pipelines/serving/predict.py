"""From calls to logged predictions, for many calls at once: features, route, scores of every version, the log."""

from __future__ import annotations

import threading
from collections.abc import Sequence, Set
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
from pipelines.serving.features import ALL, RequestFeatures
from pipelines.serving.metrics import Metrics
from pipelines.serving.routing import Route, Router
from pipelines.serving.run import Run
from pipelines.serving.schemas import Later, Refusal
from pipelines.serving.scoring import VersionScores, score
from pipelines.serving.writer import LogWriter

CallResult = list[Answered] | Exception


class Predictor:
    """Answers the requests of one use case, and logs before it answers."""

    def __init__(self, context: Context, router: Router, metrics: Metrics, writer: LogWriter) -> None:
        self._context, self._router, self._metrics, self._writer = context, router, metrics, writer
        self._log, self._rules = context.predictions, context.params.serving
        local = context.feast.config.online_store.type == UTC_SQLITE
        self._quick_log = context.records.quick_predictions(context.usecase.name) if local else None
        # of the challenger of the plan that is served, for runs that wait for it (True) and for those that do not
        self._besides: dict[bool, tuple[ModelRef, Beside]] = {}
        self._reading = threading.Lock()  # what a layout keeps of the online store is for one reader at a time
        self._noted: Route | None = None  # by the metrics

    def answer(self, calls: Sequence[Call], waits: bool = False) -> list[CallResult]:
        """The answers to each call in the order of its requests, or the error for it.

        That is a Refusal: 409 if an id was used for another request, 422 if one cannot be logged, 503 if no version
        can answer; or Later, for `answer_late`, if only a challenger can that has not scored in time. Then nothing of
        the call is logged. What fails for all calls together is tried for each alone, so that no call fails by what
        another one sent.
        """
        try:
            with self._writer.writing() as at:
                return self._answer(calls, at, self._log, waits)
        except (SQLAlchemyError, Unavailable, Refusal) as error:  # of all, and it takes its time
            return [error] * len(calls)
        except Exception as error:
            return [error] if len(calls) == 1 else [self.answer([call], waits)[0] for call in calls]

    def answer_late(self, calls: Sequence[Call]) -> list[CallResult]:
        """As `answer`, but it waits for the challenger; in a thread of its own, while others are answered."""
        return self.answer(calls, waits=True)

    def answer_at_once(self, calls: Sequence[Call]) -> list[CallResult] | None:
        """As `answer` where it waits for nobody; None, without a trace, where it would, or fails."""
        beside = self._besides.get(False)
        if self._quick_log is None or (beside is not None and beside[1].is_slow):
            return None
        try:
            with self._writer.writing() as at:
                return self._answer(calls, at, self._quick_log, waits=False)
        except Exception:  # of which `answer` says what it is, and to whom
            return None

    def _answer(self, calls: Sequence[Call], at: datetime, log: PredictionLog, waits: bool) -> list[CallResult]:
        outcomes: dict[int, CallResult] = {**self._prepare(calls, at, log)}
        spans: dict[int, range] = {}  # of each call's requests among all of the run
        requests: list[NewRequest] = []
        for number, call in enumerate(calls):
            if number not in outcomes:
                spans[number] = range(len(requests), len(requests) + len(call.new))
                requests += call.new
        run = self._run(requests, at, waits) if requests else None
        if run and len(calls) > 1 and any(of.unread for of in run.scores.values()):
            raise InvalidInput("a request of several calls is no input of a model")  # so each is tried alone
        later: set[int] = set()
        if run and (run.refusals or run.awaited):
            for number, span in [*spans.items()]:
                if refused := run.refusals.keys() & span:
                    outcomes[number] = run.refusals[min(refused)]
                    del spans[number]
                elif run.awaited & {*span}:
                    outcomes[number] = Later()
                    later.update(spans.pop(number))
        kept = [n for span in spans.values() for n in span]
        answers, logged = self._log_run(run, kept, later, log) if run else ([], [])
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

    def _run(self, requests: Sequence[NewRequest], at: datetime, waits: bool) -> Run:
        """Score all requests with all versions, and choose the version that answers each."""
        route = self._router.route()
        with self._reading:
            features = route.layout.read([request.values for request in requests], at)
        assigned = route.assigned([request.entity for request in requests])
        scores = self._score(route, features, waits)
        run = Run(requests, at, route, features, scores, assigned)
        run.choose(refuse_stale=self._rules.when_stale == "refuse")
        return run

    def _score(self, route: Route, features: RequestFeatures, waits: bool) -> dict[str, VersionScores]:
        """The scores of each version; none of a challenger that is late, unless the run is to wait for it."""
        champion, challenger = route.plan.champion, route.plan.challenger
        works = {
            version: partial(score, version, loaded, route.layout, features)
            for version, loaded in route.versions.items()
        }
        if challenger is None or challenger not in works or challenger == champion:
            self._besides = {}
            return {champion: works[champion]()}
        beside, shadow = self._beside_of(route, waits), self._rules.shadow_wait_ms / 1000
        limit = self._rules.challenger_wait_ms / 1000 if waits else beside.patience(features.rows, shadow)
        future = beside.begin(works[challenger], limit if waits else 0)
        scores = {champion: works[champion]()}
        done = wait([future], limit).done if future else set()
        if future in done and future:
            scores[challenger] = future.result()
        elif waits:
            scores[challenger] = VersionScores.none(features.rows, f"no score within {1000 * limit:g} ms")
        return scores

    def _beside_of(self, route: Route, waits: bool) -> Beside:
        """The thread of the challenger: of an earlier one that hangs, no later one has to bear the consequences."""
        model, known = route.plan.challenger_model, self._besides.get(waits)
        assert model is not None  # there is a challenger
        if known is None or known[0] != model:
            known = self._besides[waits] = model, Beside("challenger")
        return known[1]

    def _log_run(
        self, run: Run, kept: Sequence[int], later: Set[int], log: PredictionLog
    ) -> tuple[list[Answered], list[Prediction]]:
        """Log the kept requests of a run. Their answers, and the logged predictions if an id of them was there before.

        Args:
            later: those that a later run will answer and count.
        """
        batch = run.batch(kept) if kept else None
        logged = (log.append_batch(batch) or []) if batch else []
        self._note(run, later)  # not before: a run may be made again
        if batch is None:
            return [], []
        self._metrics.note_predictions(batch.served, batch.milliseconds)
        return [Answered.of(one) for one in logged] if logged else run.answers(batch), logged

    def _note(self, run: Run, later: Set[int]) -> None:
        route, challenger = run.route, run.route.plan.challenger
        if route is not self._noted:
            self._metrics.note_models(route.plan.version, route.loaded)
            self._noted = route
        of = [n for n in range(len(run.requests)) if n not in later] if later else ALL
        self._metrics.note_absences(route.layout.absences(run.features, of))
        self._metrics.note_errors({version: len(of.errors.keys() - later) for version, of in run.scores.items()})
        if challenger and route.loaded.get(challenger) and run.is_late(challenger):
            self._metrics.note_late(challenger, len(run.requests) - len(later))


def _settle(call: Call, fresh: Sequence[Answered], logged: Sequence[Prediction]) -> CallResult:
    try:
        if logged:
            call.require_same(logged)
        return call.answers(fresh)
    except Refusal as refusal:
        return refusal
