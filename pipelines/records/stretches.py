"""The judge's figures over settled rows of a rollout, by stretches of the log, and counts of later rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from pipelines.records.database import METADATA, Repository, insert, inserted, to_micros
from pipelines.records.predictions import OUTCOMES, PREDICTIONS

STRETCHES = sa.Table(
    "judged_stretches",
    METADATA,
    sa.Column("usecase", sa.String(64), primary_key=True),
    sa.Column("rollout", sa.String(128), primary_key=True),
    sa.Column("stretch", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("anew", sa.Boolean, nullable=False),
    sa.Column("content", sa.LargeBinary, nullable=False),
)


class LateLabels(NamedTuple):
    """Labels that became known after their rows were settled: how many, and the instant of the newest."""

    number: int
    newest: datetime | None


class Stretches(Repository):
    """The stretches of one use case's rollouts. They follow from the log; deleting them makes a look read all rows."""

    def of(self, rollout: str) -> list[bytes]:
        """The contents of the stretches in force, in order, beginning with the last one that replaced all before it."""
        stretch, ours = STRETCHES.c, self._of(rollout)
        first = sa.select(sa.func.max(stretch.stretch)).where(*ours, stretch.anew).scalar_subquery()
        query = sa.select(stretch.content).where(*ours, stretch.stretch >= first).order_by(stretch.stretch)
        with self.engine.connect() as connection:
            return [bytes(content) for content in connection.scalars(query)]

    def last(self, rollout: str) -> int:
        """The number of the newest stretch; 0 where there is none."""
        with self.engine.connect() as connection:
            number = connection.scalar(sa.select(sa.func.max(STRETCHES.c.stretch)).where(*self._of(rollout)))
        return int(number or 0)

    def _of(self, rollout: str) -> tuple[sa.ColumnElement[bool], ...]:
        return STRETCHES.c.usecase == self.usecase, STRETCHES.c.rollout == rollout

    def keep(self, rollout: str, number: int, anew: bool, content: bytes) -> None:
        """Store a stretch; an existing one of that number is kept, since another look was faster.

        Args:
            anew: whether it takes the place of all before it, which are deleted, rather than following them.
        """
        row = {"usecase": self.usecase, "rollout": rollout, "stretch": number, "anew": anew, "content": content}
        with self.engine.begin() as connection:
            statement = insert(self.engine, STRETCHES).values(row).on_conflict_do_nothing()
            if inserted(connection, statement) and anew:
                connection.execute(sa.delete(STRETCHES).where(*self._of(rollout), STRETCHES.c.stretch < number))

    def predictions_before(self, plans: Sequence[int], before: datetime) -> int:
        """The number of predictions under these plans, counted in an index."""
        prediction = PREDICTIONS.c
        return self._count(
            prediction.usecase == self.usecase, prediction.plan.in_(plans), prediction.predicted_at < before
        )

    def outcomes_within(self, since: datetime, before: datetime) -> int:
        """The number of outcomes that became known from `since` on, of all predictions, counted in an index."""
        outcome = OUTCOMES.c
        return self._count(outcome.usecase == self.usecase, outcome.known_at >= since, outcome.known_at < before)

    def _count(self, *where: sa.ColumnElement[bool]) -> int:
        with self.engine.connect() as connection:
            return int(connection.scalar(sa.select(sa.func.count()).where(*where)) or 0)

    def late_labels(
        self, plans: Sequence[int], predicted_before: datetime, known_since: datetime, known_by: datetime
    ) -> LateLabels:
        """The labels from `known_since` to before `known_by` of earlier predictions under these plans."""
        prediction, outcome = PREDICTIONS.c, OUTCOMES.c
        same = (prediction.usecase == outcome.usecase, prediction.prediction_id == outcome.prediction_id)
        query = (
            sa.select(sa.func.count(), sa.func.max(outcome.known_at))
            .select_from(OUTCOMES.join(PREDICTIONS, sa.and_(*same)))
            .where(outcome.usecase == self.usecase, outcome.known_at >= known_since, outcome.known_at < known_by)
            # adding 0 keeps the planner from starting with this index: the outcomes are few
            .where((prediction.plan + 0).in_(plans))
            .where(sa.type_coerce(prediction.predicted_at, sa.BigInteger) + 0 < to_micros(predicted_before))
        )
        with self.engine.connect() as connection:
            return LateLabels(*connection.execute(query).one())
