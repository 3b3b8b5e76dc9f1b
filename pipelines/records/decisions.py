"""Decisions: every verdict of a gate, with its reasons and its evidence."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa

from pipelines.json_text import JsonObject
from pipelines.records.database import METADATA, Repository, insert, text_of


class DecisionKind(StrEnum):
    """What was decided."""

    VALIDATE = "validate"
    FEATURES = "features"
    PARITY = "parity"
    GATE = "gate"
    ROLLOUT = "rollout"
    RETRAIN = "retrain"


DECISIONS = sa.Table(
    "decisions",
    METADATA,
    sa.Column("id", sa.String(16), primary_key=True),
    sa.Column("usecase", sa.String(64), nullable=False, index=True),
    sa.Column("kind", text_of(DecisionKind, 32), nullable=False),
    sa.Column("as_of", sa.String(32), nullable=False),
    sa.Column("verdict", sa.String(16), nullable=False),
    sa.Column("reasons", sa.JSON, nullable=False),
    sa.Column("evidence", sa.JSON, nullable=False),
)


@dataclass(frozen=True)
class Decision:
    """One verdict.

    Attributes:
        as_of: the instant whose knowledge it rests on.
        subject: what it is about (JSON-able). The id is a hash of everything but `timings`: the same decision taken
            twice is recorded once; another verdict or other evidence makes another decision.
        timings: evidence that differs at each measurement, such as a latency: recorded, but no part of the id.
    """

    usecase: str
    kind: DecisionKind
    as_of: datetime
    verdict: str
    reasons: tuple[str, ...]
    subject: JsonObject
    evidence: JsonObject
    timings: JsonObject = field(default_factory=dict)

    @property
    def id(self) -> str:
        content = [self.verdict, list(self.reasons), self.subject, self.evidence]
        identity = json.dumps([self.usecase, self.kind, self.as_of.isoformat(), *content], sort_keys=True, default=str)
        return hashlib.sha256(identity.encode()).hexdigest()[:16]


class Decisions(Repository):
    """The decisions of one use case."""

    def record(self, decision: Decision) -> str:
        """Write a decision once, and give its id."""
        row = {
            "id": decision.id,
            "usecase": decision.usecase,
            "kind": decision.kind,
            "as_of": decision.as_of.isoformat(),
            "verdict": decision.verdict,
            "reasons": list(decision.reasons),
            "evidence": {"subject": decision.subject, **decision.evidence, **decision.timings},
        }
        statement = insert(self.engine, DECISIONS).values(row)
        with self.engine.begin() as connection:
            connection.execute(statement.on_conflict_do_nothing())
        return decision.id

    def get(self, decision_id: str) -> JsonObject | None:
        """The decision with this id, whatever its kind."""
        return next(iter(self._select(DECISIONS.c.id == decision_id)), None)

    def all(self, kind: DecisionKind | None = None) -> list[JsonObject]:
        """Decisions, of one kind or all, in order of `as_of`."""
        return self._select(*([DECISIONS.c.kind == kind] if kind else []))

    def newest_on(self, rollout: str) -> list[JsonObject]:
        """The judge's decisions on a rollout with the latest `as_of`: several where the clock stood between them."""
        subject = DECISIONS.c.evidence["subject"]["rollout"].as_string()
        ours = (DECISIONS.c.kind == DecisionKind.ROLLOUT, subject == rollout)
        newest = sa.select(sa.func.max(DECISIONS.c.as_of)).where(DECISIONS.c.usecase == self.usecase, *ours)
        return self._select(*ours, DECISIONS.c.as_of == newest.scalar_subquery())

    def _select(self, *where: sa.ColumnElement[bool]) -> list[JsonObject]:
        query = sa.select(DECISIONS).where(DECISIONS.c.usecase == self.usecase, *where)
        with self.engine.connect() as connection:
            rows = connection.execute(query.order_by(DECISIONS.c.as_of, DECISIONS.c.id))
            return [dict(row) for row in rows.mappings()]
