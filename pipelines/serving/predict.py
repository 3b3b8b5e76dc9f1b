"""From requests to logged predictions: features, route, every version's scores, the log."""

from __future__ import annotations

import logging
import math
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from pipelines.artifacts.scorer import Scorer
from pipelines.context import Context
from pipelines.failure import trace
from pipelines.records import Prediction
from pipelines.redaction import redact
from pipelines.serving.features import (
    Arrays,
    Needs,
    Stored,
    absences,
    logged_names,
    logged_values,
    model_arrays,
    read_stored,
    request_frame,
    with_keys,
)
from pipelines.serving.metrics import Metrics
from pipelines.serving.routing import Loaded, Route, Router
from pipelines.serving.schemas import Refused
from pipelines.usecase import Request

log = logging.getLogger(__name__)
LONGEST_ENTITY = 128


@dataclass
class Scored:
    """What one version said of each request."""

    scores: list[float | None]
    milliseconds: float | None = None
    errors: list[str] = field(default_factory=list)
    arrays: Arrays | None = None


class Predictor:
    """Answers requests of one use case, and logs before it answers."""

    def __init__(self, context: Context, router: Router, metrics: Metrics) -> None:
        self._context, self._router, self._metrics = context, router, metrics
        self._log = context.predictions

    def answer(self, sent: Sequence[Any]) -> list[Prediction]:
        """The predictions of validated requests, as they stand in the log, in their order.

        Raises:
            Refused: 409 where an id was used for another request, 503 where nothing can answer. Then nothing of the
                call is logged.
        """
        requests = [item.model_dump(exclude={"id"}) for item in sent]
        written = [item.model_dump(mode="json", exclude={"id"}) for item in sent]
        ids = [item.id for item in sent]
        earlier = self._earlier(ids, written)
        repeated = _repeated(ids, written)
        new = [n for n, item in enumerate(sent) if item.id not in earlier and n not in repeated]
        made = self._predict([requests[n] for n in new], [written[n] for n in new], [ids[n] for n in new])
        kept = self._log.append(made)
        for n, prediction in zip(new, kept, strict=True):
            _require_same(n, prediction, written[n])  # another call may have used the id in the meantime
        fresh = dict(zip(new, kept, strict=True))
        return [
            earlier[identity] if identity in earlier else fresh[repeated.get(n, n)] for n, identity in enumerate(ids)
        ]

    def _earlier(self, ids: Sequence[str | None], written: Sequence[Request]) -> dict[str, Prediction]:
        """What the log already holds for the clients' ids."""
        asked = [identity for identity in ids if identity is not None]
        if not asked:
            return {}
        earlier = {prediction.prediction_id: prediction for prediction in self._log.get(asked)}
        for n, identity in enumerate(ids):
            if identity in earlier:
                _require_same(n, earlier[identity], written[n])
        return earlier

    def _predict(
        self, requests: Sequence[Request], written: Sequence[Request], ids: Sequence[str | None]
    ) -> list[Prediction]:
        if not requests:
            return []
        usecase = self._context.usecase
        entities = [self._entity(n, request) for n, request in enumerate(requests)]
        route = self._router.route()
        at = self._context.clock.now()
        self._metrics.note_models(route.plan.version, route.loaded)
        needs = {version: loaded.needs for version, loaded in route.versions.items() if loaded.needs}
        own = request_frame(usecase, requests, at)
        keyed = with_keys(usecase, requests, own)
        stored = read_stored(self._context.feast, list(needs.values()), keyed, at)
        scored = {version: _score(loaded, own, stored) for version, loaded in route.versions.items()}
        self._metrics.note_absences(absences(stored))
        self._metrics.note_errors({version: sum(map(bool, of.errors)) for version, of in scored.items()})
        features, refs = _logged(needs, scored, len(requests))
        answers = [_choose(route, entity, scored, n) for n, entity in enumerate(entities)]
        made = [
            Prediction(
                prediction_id=ids[n] or uuid.uuid4().hex,
                entity=entities[n],
                block=usecase.block(request),
                predicted_at=at,
                request=written[n],
                features=features[n],
                ages={name: _seconds(stored[n][ref]) for name, ref in refs.items()},
                plan=route.plan.version,
                share=route.plan.share,
                served=answers[n][0],
                score=answers[n][1],
                scores={version: of.scores[n] for version, of in scored.items()},
                milliseconds={v: of.milliseconds for v, of in scored.items() if of.milliseconds is not None},
                errors={version: of.errors[n] for version, of in scored.items() if of.errors[n]},
            )
            for n, request in enumerate(requests)
        ]
        self._metrics.note_predictions(made)
        return made

    def _entity(self, n: int, request: Request) -> str:
        entity = self._context.usecase.split_key(request)
        if not 0 < len(entity) <= LONGEST_ENTITY or not entity.isprintable():
            raise Refused(422, f"request {n}: {entity[:40]!r}, by which traffic is split, must be 1 to 128 characters")
        return entity


def _logged(
    needs: Mapping[str, Needs], scored: Mapping[str, Scored], rows: int
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """What the versions read, a dict a row, and by the same names the stored ones' `view:feature`."""
    features: list[dict[str, Any]] = [{} for _ in range(rows)]
    refs: dict[str, str] = {}
    for (version, need), names in zip(needs.items(), logged_names(list(needs.values())), strict=True):
        refs |= {names[name]: ref for name, ref in need.refs.items()}
        arrays = scored[version].arrays
        if arrays is not None:
            for row, values in zip(features, logged_values(names, need, arrays), strict=True):
                row.update(values)
    return features, refs


def _repeated(ids: Sequence[str | None], written: Sequence[Request]) -> dict[int, int]:
    """By the position of a request whose id stands further up in the same call: the position there."""
    first: dict[str, int] = {}
    repeated = {}
    for n, identity in enumerate(ids):
        if identity is not None and (position := first.setdefault(identity, n)) != n:
            if written[position] != written[n]:
                raise _used(n, identity)
            repeated[n] = position
    return repeated


def _require_same(n: int, logged: Prediction, written: Request) -> None:
    if dict(logged.request) != dict(written):
        raise _used(n, logged.prediction_id)


def _used(n: int, identity: str) -> Refused:
    return Refused(409, f"request {n}: the id {identity!r} was used for another request; send a new one")


def _seconds(stored: Stored) -> float | None:
    return None if stored.age is None else stored.age.total_seconds()


def _choose(route: Route, entity: str, scored: Mapping[str, Scored], n: int) -> tuple[str, float]:
    """The version that answers a request, and its score: the assigned one, or the other where that failed."""
    assigned = route.assigned(entity)
    for version in (assigned, *(other for other in scored if other != assigned)):
        score = scored[version].scores[n]
        if score is not None:
            return version, score
    reasons = "; ".join(f"version {version}: {of.errors[n]}" for version, of in scored.items())
    raise Refused(503, f"request {n} could not be scored ({reasons}); ask again later")


def _score(loaded: Loaded, own: pd.DataFrame, stored: Sequence[Mapping[str, Stored]]) -> Scored:
    """One version's scores. What it raises stays here; where a batch fails, its rows are tried one by one."""
    rows = len(own)
    if loaded.scorer is None or loaded.needs is None:
        return Scored([None] * rows, errors=[f"not loaded: {loaded.problem}"] * rows)
    arrays: Arrays | None = None
    began = time.perf_counter()
    try:
        arrays = model_arrays(loaded.needs, own, stored)
        scores = _checked(loaded.scorer, arrays)
    except Exception as error:  # a version's failure is evidence, not the client's problem
        log.error("model %s failed to score %d rows: %s", loaded.uri, rows, trace(error))
        alone = arrays is None or rows == 1
        scores = [_told(error)] * rows if alone or arrays is None else _one_by_one(loaded.scorer, arrays)
    milliseconds = (time.perf_counter() - began) * 1000 / rows
    numbers = [score if isinstance(score, float) else None for score in scores]
    errors = ["" if isinstance(score, float) else score for score in scores]
    return Scored(numbers, milliseconds, errors, arrays)


def _checked(scorer: Scorer, arrays: Arrays) -> list[float | str]:
    """A probability for each row, or what is wrong with it."""
    return [
        score if math.isfinite(score) and 0 <= score <= 1 else f"its score is {score}, no probability"
        for score in scorer.score_arrays(*arrays).reshape(len(arrays[0])).tolist()
    ]


def _one_by_one(scorer: Scorer, arrays: Arrays) -> list[float | str]:
    scores: list[float | str] = []
    for n in range(len(arrays[0])):
        try:
            scores += _checked(scorer, (arrays[0][n : n + 1], arrays[1][n : n + 1]))
        except Exception as error:
            scores.append(_told(error))
    return scores


def _told(error: Exception) -> str:
    return redact(str(error) or type(error).__name__)[:500]
