"""The prediction log and its outcomes: requests, features, scores and, later, labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

import sqlalchemy as sa

from pipelines.records.database import (
    METADATA,
    Instant,
    Numbers,
    Repository,
    insert,
    inserted,
    inserted_rows,
    text_of,
    to_json,
    to_micros,
)


class Lack(StrEnum):
    """Why stored features of a prediction were left out."""

    STORE = "store"  # it did not answer
    STALE = "stale"  # a row was older than its view's ttl, or of the future


PREDICTIONS = sa.Table(
    "predictions",
    METADATA,
    sa.Column("usecase", sa.String(64), primary_key=True),
    sa.Column("prediction_id", sa.String(128), primary_key=True),
    sa.Column("entity", sa.String(128), nullable=False),
    sa.Column("block", sa.String(128), nullable=False),
    sa.Column("closes_at", Instant, nullable=False),
    sa.Column("predicted_at", Instant, nullable=False, index=True),
    sa.Column("request", sa.JSON, nullable=False),
    sa.Column("features", sa.JSON, nullable=False),
    sa.Column("ages", sa.JSON, nullable=False),
    sa.Column("plan", sa.Integer, nullable=False),
    sa.Column("share", sa.Float, nullable=False),
    sa.Column("served", sa.String(16), nullable=False),
    sa.Column("score", sa.Float),
    sa.Column("scores", Numbers, nullable=False),
    sa.Column("milliseconds", sa.JSON, nullable=False),
    sa.Column("errors", sa.JSON, nullable=False),
    sa.Column("failed", sa.Boolean, nullable=False),  # whether there are errors, for the index below
    sa.Column("decision", sa.Boolean),
    sa.Column("lacks", text_of(Lack, 8)),
    # covers the query that a waiting rollout runs every second, so that it reads no rows
    sa.Index("ix_predictions_progress", "usecase", "plan", "predicted_at", "closes_at", "block", "failed"),
)
OUTCOMES = sa.Table(
    "outcomes",
    METADATA,
    sa.Column("usecase", sa.String(64), primary_key=True),
    sa.Column("prediction_id", sa.String(128), primary_key=True),
    sa.Column("label", sa.Float, nullable=False),
    sa.Column("known_at", Instant, nullable=False),
)


@dataclass(frozen=True)
class Prediction:
    """One answered request.

    Attributes:
        entity: the key of the sticky split.
        block: name of the dependence block. A request that is independent of every other one is its own: the block has
            the name `prediction_id` and closes at `predicted_at`.
        closes_at: the instant from which no further request belongs to the block; it is before `predicted_at` where
            this one came late.
        predicted_at: by the injected clock.
        request: the fields of the request.
        features: every value that a version in the plan reads, stale ones excluded; None where it was missing.
        ages: seconds since a stored feature was known; None where there was no value.
        plan: version of the routing plan in force.
        share: the challenger's share in force.
        served: the registered version that answered: the one that the plan assigns the entity to, or, if that failed,
            the other one. Plan and entity determine which was assigned; `errors` names those that failed.
        score: the answer; None if every version failed.
        scores: of every version in the plan, by registered version; None where it failed.
        milliseconds: by registered version.
        errors: messages by registered version; empty where none failed.
        decision: whether the score reaches the threshold of the version that answered, at which alarms cost least;
            None where nothing answered, or before decisions were kept.
        lacks: why stored features were left out, if some were.
    """

    prediction_id: str
    entity: str
    block: str
    closes_at: datetime
    predicted_at: datetime
    request: Mapping[str, Any]
    features: Mapping[str, Any]
    ages: Mapping[str, float | None]
    plan: int
    share: float
    served: str
    score: float | None
    scores: Mapping[str, float | None]
    milliseconds: Mapping[str, float]
    errors: Mapping[str, str]
    decision: bool | None = None
    lacks: Lack | None = None


COLUMNS = [PREDICTIONS.c[field.name] for field in fields(Prediction)]


class Observation(NamedTuple):
    """The part of a prediction that the judge needs: no request and no features, but the outcome.

    Attributes:
        label, known_at: of the outcome; None where there is none.
    """

    entity: str
    block: str
    closes_at: datetime
    predicted_at: datetime
    plan: int
    share: float
    served: str
    scores: Mapping[str, float | None]
    milliseconds: Mapping[str, float]
    errors: Mapping[str, str]
    label: float | None
    known_at: datetime | None


OBSERVED = [(OUTCOMES if name in ("label", "known_at") else PREDICTIONS).c[name] for name in Observation._fields]


class Progress(NamedTuple):
    """Counts of the predictions under some plans.

    Attributes:
        failed: predictions of which a version failed.
        blocks: closed blocks with predictions, besides those of single requests.
        alone: requests that are blocks of their own, closed as well.
    """

    predictions: int
    failed: int
    blocks: int
    alone: int


class Arrival(StrEnum):
    """How a reported outcome was handled."""

    RECORDED = "recorded"
    REPEATED = "repeated"
    CONTRADICTS = "contradicts"
    UNKNOWN = "unknown"


class PredictionLog(Repository):
    """Predictions and outcomes of one use case."""

    def append(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """Write predictions, all or none, and give the logged predictions of their ids.

        An id that is in the log keeps its first answer: a client that repeats a request gets the same answer.
        """
        if not predictions:
            return []
        once = {prediction.prediction_id: prediction for prediction in reversed(predictions)}  # the first of each id
        # in one order for every caller, so that two that write the same ids cannot deadlock
        rows = [self._row(once[identity]) for identity in sorted(once)]
        with self.engine.begin() as connection:
            if inserted_rows(connection, PREDICTIONS, rows) < len(rows):  # an earlier call has used an id
                once = {row.prediction_id: row for row in self._select(connection, list(once))}
        return [once[prediction.prediction_id] for prediction in predictions]

    def _row(self, prediction: Prediction) -> dict[str, Any]:
        """A row as the driver takes it."""
        scores = {name: n if n is None or math.isfinite(n) else str(n) for name, n in prediction.scores.items()}
        return {
            "usecase": self.usecase,
            "prediction_id": prediction.prediction_id,
            "entity": prediction.entity,
            "block": prediction.block,
            "closes_at": to_micros(prediction.closes_at),
            "predicted_at": to_micros(prediction.predicted_at),
            "request": to_json(prediction.request),
            "features": to_json(prediction.features),
            "ages": to_json(prediction.ages),
            "plan": prediction.plan,
            "share": prediction.share,
            "served": prediction.served,
            "score": prediction.score,
            "scores": to_json(scores),
            "milliseconds": to_json(prediction.milliseconds),
            "errors": to_json(prediction.errors),
            "failed": bool(prediction.errors),
            "decision": prediction.decision,
            "lacks": prediction.lacks,
        }

    def get(self, prediction_ids: Sequence[str]) -> list[Prediction]:
        """The predictions with these ids that are in the log."""
        with self.engine.connect() as connection:
            return self._select(connection, prediction_ids)

    def all(self) -> list[Prediction]:
        """Every prediction, in order of `predicted_at` and id."""
        query = sa.select(*COLUMNS).where(PREDICTIONS.c.usecase == self.usecase)
        with self.engine.connect() as connection:
            rows = connection.execute(query.order_by(PREDICTIONS.c.predicted_at, PREDICTIONS.c.prediction_id))
            return [Prediction(**row) for row in rows.mappings()]

    def _select(self, connection: sa.Connection, ids: Sequence[str]) -> list[Prediction]:
        query = sa.select(*COLUMNS).where(PREDICTIONS.c.usecase == self.usecase, PREDICTIONS.c.prediction_id.in_(ids))
        return [Prediction(**row) for row in connection.execute(query).mappings()]

    def observations(
        self, plans: Sequence[int], known_by: datetime, since: datetime | None = None
    ) -> list[Observation]:
        """Predictions under these plans with their outcomes, in order of `predicted_at` and id.

        Only predictions and outcomes from before `known_by` count: others of that instant may arrive after the look.
        """
        prediction, outcome = PREDICTIONS.c, OUTCOMES.c
        same = (outcome.usecase == prediction.usecase, outcome.prediction_id == prediction.prediction_id)
        query = (
            sa.select(*OBSERVED)
            .select_from(PREDICTIONS.outerjoin(OUTCOMES, sa.and_(*same, outcome.known_at < known_by)))
            .where(prediction.usecase == self.usecase, prediction.plan.in_(plans), prediction.predicted_at < known_by)
            .order_by(prediction.predicted_at, prediction.prediction_id)
        )
        if since is not None:
            query = query.where(prediction.predicted_at >= since)
        with self.engine.connect() as connection:
            return [Observation(*row) for row in connection.execute(query)]

    def progress(self, plans: Sequence[int], now: datetime, closed_by: datetime) -> Progress:
        """Count the predictions under these plans, from an index alone.

        Args:
            now: predictions from then on do not count.
            closed_by: blocks that closed by then are counted. One whose requests name several instants is counted once
                for each, so that the count changes at every one of them.
        """
        prediction = PREDICTIONS.c
        here = (prediction.usecase == self.usecase, prediction.plan.in_(plans), prediction.predicted_at < now)
        is_closed, is_alone = prediction.closes_at <= closed_by, prediction.closes_at == prediction.predicted_at
        block = prediction.block + " " + sa.cast(sa.type_coerce(prediction.closes_at, sa.BigInteger), sa.String)
        query = sa.select(
            sa.func.count(),
            _number_of(prediction.failed),
            sa.func.count(sa.distinct(sa.case((is_closed & ~is_alone, block)))),
            _number_of(is_closed & is_alone),
        ).where(*here)
        with self.engine.connect() as connection:
            return Progress(*map(int, connection.execute(query).one()))

    def record_outcomes(self, outcomes: Iterable[tuple[str, float, datetime]]) -> list[Arrival]:
        """Record outcomes (prediction id, label, instant from which it is known), and say how each was handled.

        The first label of a prediction is final: a later one that differs is refused, and nothing is overwritten.
        """
        arriving = list(outcomes)
        logged_ids = sa.select(PREDICTIONS.c.prediction_id).where(
            PREDICTIONS.c.usecase == self.usecase,
            PREDICTIONS.c.prediction_id.in_([identity for identity, _, _ in arriving]),
        )
        arrivals = [Arrival.UNKNOWN] * len(arriving)
        with self.engine.begin() as connection:
            logged = set(connection.scalars(logged_ids))
            for n in sorted(
                range(len(arriving)), key=lambda n: arriving[n][0]
            ):  # in one order for every caller, as `append`
                identity, label, known_at = arriving[n]
                if identity not in logged:
                    continue
                row = {"usecase": self.usecase, "prediction_id": identity, "label": label, "known_at": known_at}
                is_new = inserted(connection, insert(self.engine, OUTCOMES).values(row).on_conflict_do_nothing())
                arrivals[n] = Arrival.RECORDED if is_new else self._against(connection, identity, label)
        return arrivals

    def _against(self, connection: sa.Connection, identity: str, label: float) -> Arrival:
        query = sa.select(OUTCOMES.c.label).where(
            OUTCOMES.c.usecase == self.usecase, OUTCOMES.c.prediction_id == identity
        )
        return Arrival.REPEATED if connection.scalar(query) == label else Arrival.CONTRADICTS


def _number_of(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    """The number of rows of which a condition holds."""
    return sa.func.coalesce(sa.func.sum(sa.cast(condition, sa.Integer)), 0)
