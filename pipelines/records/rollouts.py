"""Rollouts: the change of the alias that started each, its frozen baseline, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from pipelines.artifacts.model import ModelRef
from pipelines.errors import InvalidInput
from pipelines.records.aliases import CHALLENGER, CHANGES
from pipelines.records.database import METADATA, Instant, Repository, insert, text_of
from pipelines.records.ledger import Action, Entry, Ledger

ROLLOUTS = sa.Table(
    "rollouts",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("usecase", sa.String(64), nullable=False),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("version", sa.String(16), nullable=False),
    sa.Column("champion", sa.String(16)),
    sa.Column("change", sa.Integer, nullable=False),
    sa.Column("began_at", Instant, nullable=False),
    sa.Column("challenger_uri", sa.Text, nullable=False),
    sa.Column("challenger_sha256", sa.String(64), nullable=False),
    sa.Column("evaluation_uri", sa.Text, nullable=False),
    sa.Column("champion_uri", sa.Text),
    sa.Column("champion_sha256", sa.String(64)),
    sa.Column("champion_loss", sa.Float),
    sa.Column("champion_loss_from", sa.String(16)),
    sa.Column("slow_ms", sa.Float),
    sa.Column("foretold", sa.JSON),
    sa.Column("ending", text_of(Action, 32)),
    sa.Column("ended_at", Instant),
    sa.Column("ended_by", sa.String(64)),
    sa.Column("ended_because", sa.Text),
    sa.Column("decision_id", sa.String(16)),
    sa.UniqueConstraint("usecase", "name"),
)


@dataclass(frozen=True)
class Baseline:
    """The values that are frozen before a rollout begins.

    Attributes:
        challenger_uri, challenger_sha256: the folder of the challenger's model and the sha256 of its graph; likewise
            for the champion, None for the first model of all.
        evaluation_uri: of the challenger.
        champion_loss: a mean loss, from production or from an evaluation, as `champion_loss_from` says.
        slow_ms: the champion's p95; None if it answered too few requests.
        foretold: how the pair differed before the rollout, as JSON; None of rollouts that began before this was kept.
    """

    challenger_uri: str
    challenger_sha256: str
    evaluation_uri: str
    champion_uri: str | None = None
    champion_sha256: str | None = None
    champion_loss: float | None = None
    champion_loss_from: str | None = None
    slow_ms: float | None = None
    foretold: Mapping[str, Any] | None = None

    def model_of(self, promoted: bool) -> ModelRef:
        """The challenger's model where it was promoted, else the champion's."""
        if promoted:
            return ModelRef(self.challenger_uri, self.challenger_sha256)
        return ModelRef(str(self.champion_uri), self.champion_sha256)


@dataclass(frozen=True)
class Ending:
    """How a rollout ended.

    Attributes:
        action: PROMOTE, ROLLBACK, ABORT or INCONCLUSIVE.
        decision_id: of the judge's recorded decision, where there is one.
    """

    action: Action
    at: datetime
    actor: str
    reason: str
    decision_id: str | None = None


@dataclass(frozen=True)
class Rollout:
    """A rollout that began.

    Attributes:
        version: the challenger.
        champion: None for the first model of all.
        change: number of the change of alias `challenger` that it began for.
        ending: None while it is under way.
    """

    name: str
    version: str
    champion: str | None
    change: int
    began_at: datetime
    baseline: Baseline
    ending: Ending | None = None

    @property
    def direct(self) -> bool:
        return self.champion is None


class Rollouts(Repository):
    """The rollouts of one use case."""

    def all(self) -> list[Rollout]:
        """Every rollout, oldest first."""
        return self._select()

    def get(self, name: str) -> Rollout | None:
        return next(iter(self._select(ROLLOUTS.c.name == name)), None)

    def require(self, name: str) -> Rollout:
        """The rollout; raises InvalidInput if there is none of that name."""
        rollout = self.get(name)
        if rollout is None:
            names = ", ".join(one.name for one in self.all()) or "none"
            raise InvalidInput(f"there is no rollout {name!r}; there are: {names}")
        return rollout

    def under_way(self) -> Rollout | None:
        """The last rollout that has not ended; None if all have."""
        return next(reversed(self._select(ROLLOUTS.c.ending.is_(None))), None)

    def begin(self, rollout: Rollout, actor: str, expected: str = "") -> bool:
        """Claim the change of alias `challenger`, store the rollout and enter it into the ledger, all or nothing.

        `expected` tells in the ledger how long it may take.

        False, without writing, if another rollout has claimed the change or there is no such change.
        """
        change = (CHANGES.c.usecase == self.usecase, CHANGES.c.alias == CHALLENGER, CHANGES.c.change == rollout.change)
        free = sa.or_(CHANGES.c.rollout.is_(None), CHANGES.c.rollout == rollout.name)
        row = {
            "usecase": self.usecase,
            "name": rollout.name,
            "version": rollout.version,
            "champion": rollout.champion,
            "change": rollout.change,
            "began_at": rollout.began_at,
            **asdict(rollout.baseline),
        }
        entry = Entry(
            key=f"{rollout.name}:start",
            at=rollout.began_at,
            actor=actor,
            action=Action.START,
            version=rollout.version,
            previous=rollout.champion,
            share=0.0,
            reason=f"alias {CHALLENGER}, change {rollout.change}",
            evidence={"change": rollout.change, "expected": expected, **asdict(rollout.baseline)},
        )
        with self.engine.begin() as connection:
            if not connection.execute(sa.update(CHANGES).where(*change, free).values(rollout=rollout.name)).rowcount:
                return False
            connection.execute(insert(self.engine, ROLLOUTS).values(row).on_conflict_do_nothing())
            Ledger(self.engine, self.usecase).enter_within(connection, entry)
        return True

    def end(self, rollout: Rollout, ending: Ending, evidence: Mapping[str, Any] | None = None) -> bool:
        """Store how a rollout ended and enter it into the ledger, both or neither; false if it has ended already."""
        running = (ROLLOUTS.c.usecase == self.usecase, ROLLOUTS.c.name == rollout.name, ROLLOUTS.c.ending.is_(None))
        update = sa.update(ROLLOUTS).where(*running).values(_columns_of(ending))
        entry = Entry(
            key=f"{rollout.name}:end",
            at=ending.at,
            actor=ending.actor,
            action=ending.action,
            version=rollout.version,
            previous=rollout.champion,
            share=1.0 if ending.action is Action.PROMOTE else 0.0,
            reason=ending.reason,
            evidence=evidence or {},
        )
        with self.engine.begin() as connection:
            if not connection.execute(update).rowcount:
                return False
            Ledger(self.engine, self.usecase).enter_within(connection, entry)
        return True

    def _select(self, *where: sa.ColumnElement[bool]) -> list[Rollout]:
        query = sa.select(ROLLOUTS).where(ROLLOUTS.c.usecase == self.usecase, *where).order_by(ROLLOUTS.c.number)
        with self.engine.connect() as connection:
            return [_rollout(row) for row in connection.execute(query).mappings()]


def _columns_of(ending: Ending) -> dict[str, Any]:
    return {
        "ending": ending.action,
        "ended_at": ending.at,
        "ended_by": ending.actor,
        "ended_because": ending.reason,
        "decision_id": ending.decision_id,
    }


def _rollout(row: sa.RowMapping) -> Rollout:
    baseline = Baseline(**{field.name: row[field.name] for field in fields(Baseline)})
    ending = None
    if row["ending"] is not None:
        ending = Ending(row["ending"], row["ended_at"], row["ended_by"], row["ended_because"], row["decision_id"])
    return Rollout(row["name"], row["version"], row["champion"], row["change"], row["began_at"], baseline, ending)
