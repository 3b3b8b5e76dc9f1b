"""Decisions: every verdict of a gate, with the reasons and the evidence it rests on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from pipelines.records.database import METADATA, insert, open_records
from pipelines.records.derived import Derivations
from pipelines.records.partitions import PartitionHistory
from pipelines.records.predictions import PredictionLog
from pipelines.records.releases import Releases
from pipelines.records.rollouts import Rollouts
from pipelines.records.snapshots import Snapshots

DECISIONS = sa.Table(
    "decisions",
    METADATA,
    sa.Column("id", sa.String(16), primary_key=True),
    sa.Column("usecase", sa.String(64), nullable=False, index=True),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("as_of", sa.String(32), nullable=False),
    sa.Column("verdict", sa.String(16), nullable=False),
    sa.Column("reasons", sa.JSON, nullable=False),
    sa.Column("evidence", sa.JSON, nullable=False),
)


@dataclass(frozen=True)
class Decision:
    """One verdict.

    Attributes:
        kind: what was decided: validate, parity, gate, retrain.
        as_of: the instant whose knowledge it rests on.
        subject: what it was about (JSON-able). The id is a hash of everything: the same decision taken twice is
            recorded once, and another verdict or other evidence make another decision.
        measured: evidence that differs each time it is taken, such as a latency: recorded, and no part of the id.
    """

    usecase: str
    kind: str
    as_of: datetime
    verdict: str
    reasons: tuple[str, ...]
    subject: dict[str, Any]
    evidence: dict[str, Any]
    measured: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        said = [self.verdict, list(self.reasons), self.subject, self.evidence]
        identity = json.dumps([self.usecase, self.kind, self.as_of.isoformat(), *said], sort_keys=True, default=str)
        return hashlib.sha256(identity.encode()).hexdigest()[:16]


class Records:
    """The records database: SQLite on a laptop, PostgreSQL in production, by URI."""

    def __init__(self, uri: str) -> None:
        self.engine = open_records(uri)

    def partitions(self, usecase: str) -> PartitionHistory:
        return PartitionHistory(self.engine, usecase)

    def derivations(self, usecase: str) -> Derivations:
        return Derivations(self.engine, usecase)

    def predictions(self, usecase: str) -> PredictionLog:
        return PredictionLog(self.engine, usecase)

    def rollouts(self, usecase: str) -> Rollouts:
        return Rollouts(self.engine, usecase)

    def snapshots(self, usecase: str) -> Snapshots:
        return Snapshots(self.engine, usecase)

    def releases(self, usecase: str) -> Releases:
        return Releases(self.engine, usecase)

    def record(self, decision: Decision) -> str:
        """Write a decision once, and give its id."""
        row = {
            "id": decision.id,
            "usecase": decision.usecase,
            "kind": decision.kind,
            "as_of": decision.as_of.isoformat(),
            "verdict": decision.verdict,
            "reasons": list(decision.reasons),
            "evidence": {"subject": decision.subject, **decision.evidence, **decision.measured},
        }
        statement = insert(self.engine, DECISIONS).values(row)
        with self.engine.begin() as connection:
            connection.execute(statement.on_conflict_do_nothing())
        return decision.id

    def decision(self, decision_id: str) -> dict[str, Any] | None:
        with self.engine.connect() as connection:
            row = connection.execute(sa.select(DECISIONS).where(DECISIONS.c.id == decision_id)).mappings().first()
        return dict(row) if row else None

    def decisions(self, usecase: str, kind: str | None = None) -> list[dict[str, Any]]:
        """Decisions of a use case, in order of `as_of`."""
        query = sa.select(DECISIONS).where(DECISIONS.c.usecase == usecase).order_by(DECISIONS.c.as_of, DECISIONS.c.id)
        if kind:
            query = query.where(DECISIONS.c.kind == kind)
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def newest_decisions(self, usecase: str, rollout: str) -> list[dict[str, Any]]:
        """The judge's decisions on a rollout with the latest `as_of`: several where the clock stood between them."""
        subject = DECISIONS.c.evidence["subject"]["rollout"].as_string()
        ours = (DECISIONS.c.usecase == usecase, DECISIONS.c.kind == "rollout", subject == rollout)
        newest = sa.select(sa.func.max(DECISIONS.c.as_of)).where(*ours).scalar_subquery()
        query = sa.select(DECISIONS).where(*ours, DECISIONS.c.as_of == newest).order_by(DECISIONS.c.id)
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]
