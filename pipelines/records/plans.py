"""Routing plans: which version answers which share of the requests, and since when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime

import sqlalchemy as sa

from pipelines.artifacts.model import ModelRef
from pipelines.records.database import METADATA, Instant, Repository, insert, inserted

PLANS = sa.Table(
    "routing_plans",
    METADATA,
    sa.Column("usecase", sa.String(64), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("rollout", sa.String(128), nullable=False),
    sa.Column("stage", sa.String(32), nullable=False),
    sa.Column("champion", sa.String(16), nullable=False),
    sa.Column("champion_uri", sa.Text, nullable=False),
    sa.Column("champion_sha256", sa.String(64), nullable=False),
    sa.Column("challenger", sa.String(16)),
    sa.Column("challenger_uri", sa.Text),
    sa.Column("challenger_sha256", sa.String(64)),
    sa.Column("share", sa.Float, nullable=False),
    sa.Column("since", Instant, nullable=False),
)


@dataclass(frozen=True)
class Plan:
    """A routing plan. Each plan has the next version number; the highest is in force.

    Attributes:
        stage: shadow, a share such as "25", or "" outside a rollout.
        challenger: None outside a rollout. A URI is a model's folder in the store; a sha256 is that of its graph as
            it was registered, so that nothing else in the folder is served under the version's number.
        share: of entities that the challenger answers, in [0, 1].
        since: from when it is in force, by the injected clock.
    """

    version: int
    rollout: str
    stage: str
    champion: str
    champion_uri: str
    champion_sha256: str
    challenger: str | None
    challenger_uri: str | None
    challenger_sha256: str | None
    share: float
    since: datetime

    @property
    def champion_model(self) -> ModelRef:
        return ModelRef(self.champion_uri, self.champion_sha256)

    @property
    def challenger_model(self) -> ModelRef | None:
        """None outside a rollout. A plan without its digest names no model that exists."""
        return ModelRef(self.challenger_uri, self.challenger_sha256 or "") if self.challenger_uri else None

    @classmethod
    def alone(cls, version: int, rollout: str, champion: str, model: ModelRef, since: datetime) -> Plan:
        """A plan by which one registered version answers everything."""
        return cls(version, rollout, "", champion, model.uri, model.sha256 or "", None, None, None, 0.0, since)


COLUMNS = [PLANS.c[field.name] for field in fields(Plan)]
IN_FORCE = (  # built once: the model server asks it with every run
    sa.select(*COLUMNS).where(PLANS.c.usecase == sa.bindparam("of")).order_by(PLANS.c.version.desc()).limit(1)
)


class Plans(Repository):
    """The plans of one use case."""

    def current(self) -> Plan | None:
        """The plan in force; None before the first."""
        with self.engine.connect() as connection:
            row = connection.execute(IN_FORCE, {"of": self.usecase}).mappings().first()
        return Plan(**row) if row else None

    def at(self, instant: datetime) -> Plan | None:
        """The plan that was in force at an instant; None before the first."""
        return self._newest(PLANS.c.since <= instant)

    def get(self, version: int) -> Plan | None:
        """The plan with this version, in force or not."""
        return self._newest(PLANS.c.version == version)

    def of(self, rollout: str) -> Sequence[Plan]:
        """The plans of a rollout, oldest first."""
        query = sa.select(*COLUMNS).where(PLANS.c.usecase == self.usecase, PLANS.c.rollout == rollout)
        with self.engine.connect() as connection:
            return [Plan(**row) for row in connection.execute(query.order_by(PLANS.c.version)).mappings()]

    def replace(self, plan: Plan) -> bool:
        """Put a plan in force if `plan.version` is the next one; false if another was faster."""
        current = self.current()
        if plan.version != (current.version if current else 0) + 1:
            return False
        statement = insert(self.engine, PLANS).values({"usecase": self.usecase, **asdict(plan)})
        with self.engine.begin() as connection:
            return bool(inserted(connection, statement.on_conflict_do_nothing()))

    def _newest(self, *where: sa.ColumnElement[bool]) -> Plan | None:
        query = sa.select(*COLUMNS).where(PLANS.c.usecase == self.usecase, *where)
        with self.engine.connect() as connection:
            row = connection.execute(query.order_by(PLANS.c.version.desc()).limit(1)).mappings().first()
        return Plan(**row) if row else None


def share_of(plan: Plan | None, version: str) -> float:
    """The share of the traffic that a version answers under a plan."""
    if plan is None or version not in (plan.champion, plan.challenger):
        return 0.0
    return plan.share if version == plan.challenger else 1.0 - plan.share
