"""From requests to logged predictions: features, route, every version's scores, the log."""

from __future__ import annotations

import logging
import math
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
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
    StoredValue,
    absences,
    logged_names,
    logged_values,
    model_arrays,
    read_stored,
    request_frame,
    with_keys,
)
from pipelines.serving.metrics import Metrics
from pipelines.serving.routing import LoadedModel, Route, Router
from pipelines.serving.schemas import Refusal
from pipelines.usecase import Block, Request

log = logging.getLogger(__name__)
LONGEST = 128  # characters of what the log keeps as a key
YEARS = range(1970, 2200)  # in which blocks close: the judge counts nanoseconds since 1970


@dataclass
class VersionScores:
    """The scores of one version for each request."""

    scores: list[float | None]
    milliseconds: float | None = None
    errors: list[str] = field(default_factory=list)
    arrays: Arrays | None = None


class Predictor:
    """Answers the requests of one use case, and logs before it answers."""

    def __init__(self, context: Context, router: Router, metrics: Metrics) -> None:
        self._context, self._router, self._metrics = context, router, metrics
        self._log = context.predictions

    def answer(self, sent: Sequence[Any]) -> list[Prediction]:
        """The logged predictions of validated requests, in their order.

        Raises:
            Refusal: 409 if an id was used for another request, 503 if no version can answer. Then nothing of the call
                is logged.
        """
        requests = [item.model_dump(exclude={"id"}) for item in sent]
        bodies = [item.model_dump(mode="json", exclude={"id"}) for item in sent]
        ids = [item.id for item in sent]
        earlier = self._earlier(ids, bodies)
        repetitions = _find_repetitions(ids, bodies)
        new = [n for n, item in enumerate(sent) if item.id not in earlier and n not in repetitions]
        predictions = self._predict([requests[n] for n in new], [bodies[n] for n in new], [ids[n] for n in new])
        logged = self._log.append(predictions)
        for n, prediction in zip(new, logged, strict=True):
            _require_same(n, prediction, bodies[n])  # another call may have used the id meanwhile
        fresh = dict(zip(new, logged, strict=True))
        return [
            earlier[identity] if identity in earlier else fresh[repetitions.get(n, n)] for n, identity in enumerate(ids)
        ]

    def _earlier(self, ids: Sequence[str | None], bodies: Sequence[Request]) -> dict[str, Prediction]:
        """The predictions in the log with the clients' ids."""
        known_ids = [identity for identity in ids if identity is not None]
        if not known_ids:
            return {}
        earlier = {prediction.prediction_id: prediction for prediction in self._log.get(known_ids)}
        for n, identity in enumerate(ids):
            if identity in earlier:
                _require_same(n, earlier[identity], bodies[n])
        return earlier

    def _predict(
        self, requests: Sequence[Request], bodies: Sequence[Request], ids: Sequence[str | None]
    ) -> list[Prediction]:
        if not requests:
            return []
        usecase = self._context.usecase
        entities = [self._entity(n, request) for n, request in enumerate(requests)]
        route = self._router.route()
        at = self._context.clock.now()
        identities = [identity or uuid.uuid4().hex for identity in ids]
        blocks = [self._block(n, request, at) or Block(identities[n], at) for n, request in enumerate(requests)]
        self._metrics.note_models(route.plan.version, route.loaded)
        needs = {version: loaded.needs for version, loaded in route.versions.items() if loaded.needs}
        own = request_frame(usecase, requests, at)
        with_entity_keys = with_keys(usecase, requests, own)
        stored = read_stored(self._context.feast, list(needs.values()), with_entity_keys, at)
        scores_by_version = {version: _score(loaded, own, stored) for version, loaded in route.versions.items()}
        self._metrics.note_absences(absences(stored))
        self._metrics.note_errors({version: sum(map(bool, of.errors)) for version, of in scores_by_version.items()})
        features, refs = _features_for_log(needs, scores_by_version, len(requests))
        answers = [_choose(route, entity, scores_by_version, n) for n, entity in enumerate(entities)]
        predictions = [
            Prediction(
                prediction_id=identity,
                entity=entities[n],
                block=blocks[n].name,
                closes_at=blocks[n].closes_at,
                predicted_at=at,
                request=bodies[n],
                features=features[n],
                ages={name: _seconds(stored[n][ref]) for name, ref in refs.items()},
                plan=route.plan.version,
                share=route.plan.share,
                served=answers[n][0],
                score=answers[n][1],
                scores={version: of.scores[n] for version, of in scores_by_version.items()},
                milliseconds={v: of.milliseconds for v, of in scores_by_version.items() if of.milliseconds is not None},
                errors={version: of.errors[n] for version, of in scores_by_version.items() if of.errors[n]},
            )
            for n, identity in enumerate(identities)
        ]
        self._metrics.note_predictions(predictions)
        return predictions

    def _entity(self, n: int, request: Request) -> str:
        entity = self._context.usecase.split_key(request)
        if not _is_key(entity):
            raise Refusal(422, f"request {n}: {entity[:40]!r}, by which traffic is split, must be 1 to 128 characters")
        return entity

    def _block(self, n: int, request: Request, at: datetime) -> Block | None:
        """The block that the use case gives to a request, or None where it is a block of its own.

        Raises:
            Refusal: 422 if it cannot be logged.
        """
        usecase = self._context.usecase
        match usecase.block(request, at):
            case None:
                return None
            case (str(name), datetime() as closes_at) if _is_key(name) and _is_instant(closes_at):
                return Block(name, closes_at)
            case other:
                raise Refusal(
                    422,
                    f"request {n}: `block` of the use case {usecase.name} gives {repr(other)[:120]}; it must give "
                    "None, or a Block with a name of 1 to 128 printable characters and an instant of the years "
                    f"{YEARS.start} to {YEARS.stop - 1} with a time zone",
                )


def _is_key(text: str) -> bool:
    return 0 < len(text) <= LONGEST and text.isprintable()


def _is_instant(instant: datetime) -> bool:
    return instant.utcoffset() is not None and instant.year in YEARS


def _features_for_log(
    needs: Mapping[str, Needs], scores_by_version: Mapping[str, VersionScores], rows: int
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The features for the log, one dict for each row, and the `view:feature` of the stored ones by the same names."""
    features: list[dict[str, Any]] = [{} for _ in range(rows)]
    refs: dict[str, str] = {}
    for (version, need), names in zip(needs.items(), logged_names(list(needs.values())), strict=True):
        refs |= {names[name]: ref for name, ref in need.refs.items()}
        arrays = scores_by_version[version].arrays
        if arrays is not None:
            for row, values in zip(features, logged_values(names, need, arrays), strict=True):
                row.update(values)
    return features, refs


def _find_repetitions(ids: Sequence[str | None], bodies: Sequence[Request]) -> dict[int, int]:
    """For each request whose id occurs earlier in the same call: its position, and that of the first occurrence."""
    first: dict[str, int] = {}
    repetitions = {}
    for n, identity in enumerate(ids):
        if identity is not None and (position := first.setdefault(identity, n)) != n:
            if bodies[position] != bodies[n]:
                raise _id_in_use(n, identity)
            repetitions[n] = position
    return repetitions


def _require_same(n: int, logged: Prediction, body: Request) -> None:
    if dict(logged.request) != dict(body):
        raise _id_in_use(n, logged.prediction_id)


def _id_in_use(n: int, identity: str) -> Refusal:
    return Refusal(409, f"request {n}: the id {identity!r} was used for another request; send a new one")


def _seconds(stored: StoredValue) -> float | None:
    return None if stored.age is None else stored.age.total_seconds()


def _choose(route: Route, entity: str, scores_by_version: Mapping[str, VersionScores], n: int) -> tuple[str, float]:
    """The version that answers a request, and its score: the assigned version, or the other one if that failed."""
    assigned_version = route.assigned(entity)
    for version in (assigned_version, *(other for other in scores_by_version if other != assigned_version)):
        score = scores_by_version[version].scores[n]
        if score is not None:
            return version, score
    reasons = "; ".join(f"version {version}: {of.errors[n]}" for version, of in scores_by_version.items())
    raise Refusal(503, f"request {n} could not be scored ({reasons}); send it again later")


def _score(loaded: LoadedModel, own: pd.DataFrame, stored: Sequence[Mapping[str, StoredValue]]) -> VersionScores:
    """Score with one version. Its errors are caught here; if a batch fails, its rows are scored one by one."""
    rows = len(own)
    if loaded.scorer is None or loaded.needs is None:
        return VersionScores([None] * rows, errors=[f"not loaded: {loaded.problem}"] * rows)
    arrays: Arrays | None = None
    began = time.perf_counter()
    try:
        arrays = model_arrays(loaded.needs, own, stored)
        scores = _check_scores(loaded.scorer, arrays)
    except Exception as error:  # a version's failure is evidence, not the client's problem
        log.error("model %s failed to score %d rows: %s", loaded.uri, rows, trace(error))
        alone = arrays is None or rows == 1
        scores = [_error_text(error)] * rows if alone or arrays is None else _one_by_one(loaded.scorer, arrays)
    milliseconds = (time.perf_counter() - began) * 1000 / rows
    numbers = [score if isinstance(score, float) else None for score in scores]
    errors = ["" if isinstance(score, float) else score for score in scores]
    return VersionScores(numbers, milliseconds, errors, arrays)


def _check_scores(scorer: Scorer, arrays: Arrays) -> list[float | str]:
    """A probability for each row, or a message about what is wrong."""
    return [
        score if math.isfinite(score) and 0 <= score <= 1 else f"its score is {score}, no probability"
        for score in scorer.score_arrays(*arrays).reshape(len(arrays[0])).tolist()
    ]


def _one_by_one(scorer: Scorer, arrays: Arrays) -> list[float | str]:
    scores: list[float | str] = []
    for n in range(len(arrays[0])):
        try:
            scores += _check_scores(scorer, (arrays[0][n : n + 1], arrays[1][n : n + 1]))
        except Exception as error:
            scores.append(_error_text(error))
    return scores


def _error_text(error: Exception) -> str:
    return redact(str(error) or type(error).__name__)[:500]
