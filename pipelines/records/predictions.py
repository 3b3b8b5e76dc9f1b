"""The prediction log and its outcomes: what was asked, what was known, what was answered, what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime
from enum import StrEnum
from typing import Any, NamedTuple

import sqlalchemy as sa

from pipelines.records.database import METADATA, Instant, Numbers, Repository, insert, inserted

PREDICTIONS = sa.Table(
    "predictions",
    METADATA,
    sa.Column("usecase", sa.String(64), primary_key=True),
    sa.Column("prediction_id", sa.String(128), primary_key=True),
    sa.Column("entity", sa.String(128), nullable=False),
    sa.Column("block", sa.Date, nullable=False),
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
    # holds all that a waiting rollout asks every second, so that no row is read for it
    sa.Index("ix_predictions_progress", "usecase", "plan", "predicted_at", "block", "failed"),
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
        entity: what the split is sticky on.
        block: the dependence block, the use case's local day.
        predicted_at: by the injected clock.
        request: the fields of the request.
        features: every value that a version in the plan reads, after freshness; None where it was missing.
        ages: seconds since a stored feature was known; None where there was none.
        plan: version of the routing plan in force.
        share: the challenger's share in force.
        served: the registered version that answered: the one that the plan assigns the entity to, or where that failed
            the other one. Plan and entity tell who was assigned, `errors` who failed.
        score: what was answered; None if it could not be.
        scores: by registered version, every one of the plan; None where it failed.
        milliseconds: by registered version.
        errors: by registered version, what went wrong; empty where nothing did.
    """

    prediction_id: str
    entity: str
    block: date
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


COLUMNS = [PREDICTIONS.c[field.name] for field in fields(Prediction)]


class Observation(NamedTuple):
    """What judging needs of one prediction: no request and no features, but what came of it.

    Attributes:
        label, known_at: of the outcome; None where there is none.
    """

    entity: str
    block: date
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
    """How far some plans have come.

    Attributes:
        failed: predictions of which a version failed.
        blocks: closed blocks with predictions.
    """

    predictions: int
    failed: int
    blocks: int


class Arrival(StrEnum):
    """What became of an outcome that was sent."""

    RECORDED = "recorded"
    REPEATED = "repeated"
    CONTRADICTS = "contradicts"
    UNKNOWN = "unknown"


class PredictionLog(Repository):
    """Predictions and outcomes of one use case."""

    def append(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """Write predictions, all or none, and give what the log then holds for their ids.

        An id that is there already keeps its first answer: a client that asks again is told the same.
        """
        if not predictions:
            return []
        once = {made.prediction_id: made for made in reversed(predictions)}  # the first of an id
        # in one order for every caller, so that two that write the same ids wait for each other and never both
        rows = [
            {"usecase": self.usecase, **asdict(once[identity]), "failed": bool(once[identity].errors)}
            for identity in sorted(once)
        ]
        statement = insert(self.engine, PREDICTIONS).on_conflict_do_nothing()
        ids = [prediction.prediction_id for prediction in predictions]
        with self.engine.begin() as connection:
            connection.execute(statement, rows)
            kept = {found.prediction_id: found for found in self._select(connection, ids)}
        return [kept[identity] for identity in ids]

    def get(self, prediction_ids: Sequence[str]) -> list[Prediction]:
        """Those of the predictions that are in the log."""
        with self.engine.connect() as connection:
            return self._select(connection, prediction_ids)

    def all(self) -> list[Prediction]:
        """Every prediction, in the order in which they were asked for."""
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

        Only what was there before an instant: what comes at that very instant may come after the look.
        """
        made, outcome = PREDICTIONS.c, OUTCOMES.c
        same = (outcome.usecase == made.usecase, outcome.prediction_id == made.prediction_id)
        query = (
            sa.select(*OBSERVED)
            .select_from(PREDICTIONS.outerjoin(OUTCOMES, sa.and_(*same, outcome.known_at < known_by)))
            .where(made.usecase == self.usecase, made.plan.in_(plans), made.predicted_at < known_by)
            .order_by(made.predicted_at, made.prediction_id)
        )
        if since is not None:
            query = query.where(made.predicted_at >= since)
        with self.engine.connect() as connection:
            return [Observation(*row) for row in connection.execute(query)]

    def progress(self, plans: Sequence[int], now: datetime, closed: date) -> Progress:
        """How far these plans have come; no row is read, an index alone.

        Args:
            now: what comes later does not count.
            closed: the newest closed block.
        """
        made = PREDICTIONS.c
        failed = sa.func.coalesce(sa.func.sum(sa.cast(made.failed, sa.Integer)), 0)
        blocks = sa.func.count(sa.distinct(sa.case((made.block <= closed, made.block))))
        here = (made.usecase == self.usecase, made.plan.in_(plans), made.predicted_at < now)
        with self.engine.connect() as connection:
            counts = connection.execute(sa.select(sa.func.count(), failed, blocks).where(*here)).one()
        return Progress(*map(int, counts))

    def record_outcomes(self, outcomes: Iterable[tuple[str, float, datetime]]) -> list[Arrival]:
        """Record (prediction id, label, instant from which it is known), and say what became of each.

        The first label of a prediction stands: a later one that differs is refused, and nothing is overwritten.
        """
        sent = list(outcomes)
        made = sa.select(PREDICTIONS.c.prediction_id).where(
            PREDICTIONS.c.usecase == self.usecase,
            PREDICTIONS.c.prediction_id.in_([identity for identity, _, _ in sent]),
        )
        arrivals = [Arrival.UNKNOWN] * len(sent)
        with self.engine.begin() as connection:
            known = set(connection.scalars(made))
            for n in sorted(range(len(sent)), key=lambda n: sent[n][0]):  # in one order for every caller, as `append`
                identity, label, known_at = sent[n]
                if identity not in known:
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
