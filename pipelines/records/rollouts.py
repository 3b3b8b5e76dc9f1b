"""Rollouts: what alias pointed where, which rollout began for it, and the routing plan; with the ledger of all that."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from pipelines.records.database import METADATA, Instant, insert
from pipelines.records.ledger import ALIAS, Entry, Ledger

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"  # the aliases that the chain sets itself
BY_HAND = "out-of-band"  # the actor where a person has changed an alias and told nobody

ALIASES = sa.Table(
    "alias_changes",
    METADATA,
    sa.Column("usecase", sa.String(64), primary_key=True),
    sa.Column("alias", sa.String(64), primary_key=True),
    sa.Column("change", sa.Integer, primary_key=True),
    sa.Column("version", sa.String(16), nullable=False),
    sa.Column("actor", sa.String(64), nullable=False),
    sa.Column("told", sa.Boolean, nullable=False),
    sa.Column("rollout", sa.String(128)),
)
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
    """Who answers. Each plan has the next version; the highest is in force.

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

    @classmethod
    def alone(cls, version: int, rollout: str, champion: str, uri: str, sha256: str, since: datetime) -> Plan:
        """A plan by which one registered version answers everything."""
        return cls(version, rollout, "", champion, uri, sha256, None, None, None, 0.0, since)


class Rollouts(Ledger):
    """Aliases, plans and the ledger of one use case."""

    # ---- aliases: every change has a number, so that a version may challenge again

    def alias(self, alias: str) -> tuple[int, str] | None:
        """The number of the alias's last change that we know of, and the version that it pointed to."""
        query = (
            sa.select(ALIASES.c.change, ALIASES.c.version)
            .where(ALIASES.c.usecase == self.usecase, ALIASES.c.alias == alias)
            .order_by(ALIASES.c.change.desc())
            .limit(1)
        )
        with self.engine.connect() as connection:
            row = connection.execute(query).first()
        return (int(row[0]), str(row[1])) if row else None

    def aliases(self) -> dict[str, str]:
        """Every alias that was ever noted, and the version ("" for none) that it pointed to last."""
        query = sa.select(ALIASES.c.alias, ALIASES.c.version).where(ALIASES.c.usecase == self.usecase)
        with self.engine.connect() as connection:
            return {str(alias): str(version) for alias, version in connection.execute(query.order_by(ALIASES.c.change))}

    def note_alias(self, alias: str, version: str, actor: str, at: datetime, why: str = "") -> int | None:
        """Note that an alias points to a version: the number of the change, or None if that was known already.

        Of several that see the same change at once, one is given its number. The ledger has a line of it.
        """
        last = self.alias(alias)
        if last and last[1] == version:
            return None
        change = (last[0] if last else 0) + 1
        what = {"alias": alias, "change": change}
        row = {"usecase": self.usecase, **what, "version": version, "actor": actor, "told": False}
        entry = Entry(
            key=f"alias:{alias}:{change}",
            at=at,
            actor=actor,
            action=f"{ALIAS}{alias}"[:32],
            version=version,
            previous=(last[1] or None) if last else None,
            share=share_of(self.plan(), version),
            reason=why or f"alias {alias} {f'set to version {version}' if version else 'removed'} by {actor}",
            evidence=what,
        )
        with self.engine.begin() as connection:
            done = connection.execute(insert(self.engine, ALIASES).values(row).on_conflict_do_nothing())
            if done.rowcount:
                connection.execute(self.line(entry))
        return change if done.rowcount else None

    def claim(self, alias: str, change: int, rollout: str) -> bool:
        """Begin a rollout for a change of an alias: true for one caller, and for the same rollout asking again."""
        here = (ALIASES.c.usecase == self.usecase, ALIASES.c.alias == alias, ALIASES.c.change == change)
        with self.engine.begin() as connection:
            connection.execute(sa.update(ALIASES).where(*here, ALIASES.c.rollout.is_(None)).values(rollout=rollout))
            holder = connection.scalar(sa.select(ALIASES.c.rollout).where(*here))
        return bool(holder == rollout)

    def begin(self, alias: str, change: int, rollout: str, entry: Entry) -> bool:
        """Claim a change and write the rollout's first entry, both or neither; false if another has the change."""
        here = (ALIASES.c.usecase == self.usecase, ALIASES.c.alias == alias, ALIASES.c.change == change)
        free = sa.or_(ALIASES.c.rollout.is_(None), ALIASES.c.rollout == rollout)
        with self.engine.begin() as connection:
            if not connection.execute(sa.update(ALIASES).where(*here, free).values(rollout=rollout)).rowcount:
                return False
            connection.execute(self.line(entry))
        return True

    def tell(self, alias: str, actor: str, again: bool = False) -> tuple[int, str] | None:
        """The alias's last change and its version, where `actor` set it and no rollout has begun for it.

        Of several that ask, one is told; with `again`, also what somebody was told before.
        """
        here = (ALIASES.c.usecase == self.usecase, ALIASES.c.alias == alias)
        with self.engine.connect() as connection:
            query = sa.select(ALIASES).where(*here).order_by(ALIASES.c.change.desc()).limit(1)
            row = connection.execute(query).mappings().first()
        if row is None or row["actor"] != actor or not row["version"] or row["rollout"] or (row["told"] and not again):
            return None
        unheard = (ALIASES.c.change == row["change"], ALIASES.c.told == row["told"])
        with self.engine.begin() as connection:
            heard = connection.execute(sa.update(ALIASES).where(*here, *unheard).values(told=True)).rowcount
        return (row["change"], row["version"]) if heard else None

    # ---- plans

    def plan(self) -> Plan | None:
        """The plan in force; None before the first."""
        query = sa.select(*_columns(PLANS, Plan)).where(PLANS.c.usecase == self.usecase)
        with self.engine.connect() as connection:
            row = connection.execute(query.order_by(PLANS.c.version.desc()).limit(1)).mappings().first()
        return Plan(**row) if row else None

    def plan_of(self, version: int) -> Plan | None:
        """The plan with this version, in force or not."""
        query = sa.select(*_columns(PLANS, Plan)).where(PLANS.c.usecase == self.usecase, PLANS.c.version == version)
        with self.engine.connect() as connection:
            row = connection.execute(query).mappings().first()
        return Plan(**row) if row else None

    def plan_at(self, instant: datetime) -> Plan | None:
        """The plan that was in force at an instant; None before the first."""
        query = sa.select(*_columns(PLANS, Plan)).where(PLANS.c.usecase == self.usecase, PLANS.c.since <= instant)
        with self.engine.connect() as connection:
            row = connection.execute(query.order_by(PLANS.c.version.desc()).limit(1)).mappings().first()
        return Plan(**row) if row else None

    def plans(self, rollout: str) -> list[Plan]:
        """The plans of a rollout, oldest first."""
        query = sa.select(*_columns(PLANS, Plan)).where(PLANS.c.usecase == self.usecase, PLANS.c.rollout == rollout)
        with self.engine.connect() as connection:
            return [Plan(**row) for row in connection.execute(query.order_by(PLANS.c.version)).mappings()]

    def replace_plan(self, plan: Plan) -> bool:
        """Put a plan in force if `plan.version` is the next one; false if another was faster."""
        current = self.plan()
        if plan.version != (current.version if current else 0) + 1:
            return False
        statement = insert(self.engine, PLANS).values({"usecase": self.usecase, **asdict(plan)})
        with self.engine.begin() as connection:
            return bool(connection.execute(statement.on_conflict_do_nothing()).rowcount)


def share_of(plan: Plan | None, version: str) -> float:
    """The share of the traffic that a version answers under a plan."""
    if plan is None or version not in (plan.champion, plan.challenger):
        return 0.0
    return plan.share if version == plan.challenger else 1.0 - plan.share


def _columns(table: sa.Table, of: type) -> list[sa.Column[Any]]:
    return [table.c[field.name] for field in fields(of)]
