"""The changes of aliases: each has a number, so that a version may challenge again."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from pipelines.records.database import METADATA, Repository, insert, inserted
from pipelines.records.ledger import Action, Entry, Ledger
from pipelines.records.plans import Plans, share_of

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"  # the aliases that the chain sets itself
BY_HAND = "out-of-band"  # the actor where a person has changed an alias in MLflow

CHANGES = sa.Table(
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


class Aliases(Repository):
    """The recorded changes of the aliases of one use case."""

    def last(self, alias: str) -> tuple[int, str] | None:
        """The number of the alias's last recorded change, and the version that it points to since."""
        query = (
            sa.select(CHANGES.c.change, CHANGES.c.version)
            .where(CHANGES.c.usecase == self.usecase, CHANGES.c.alias == alias)
            .order_by(CHANGES.c.change.desc())
            .limit(1)
        )
        with self.engine.connect() as connection:
            row = connection.execute(query).first()
        return (int(row[0]), str(row[1])) if row else None

    def all(self) -> dict[str, str]:
        """Every recorded alias, and the version ("" for none) that it points to by its last change."""
        query = sa.select(CHANGES.c.alias, CHANGES.c.version).where(CHANGES.c.usecase == self.usecase)
        with self.engine.connect() as connection:
            return {str(alias): str(version) for alias, version in connection.execute(query.order_by(CHANGES.c.change))}

    def note(self, alias: str, version: str, actor: str, at: datetime, why: str = "") -> int | None:
        """Record that an alias points to a version; the number of the change, or None if it was on record already.

        Of several callers that record the same change at once, one gets its number. The ledger gets an entry.
        """
        last = self.last(alias)
        if last and last[1] == version:
            return None
        change = (last[0] if last else 0) + 1
        what = {"alias": alias, "change": change}
        row = {"usecase": self.usecase, **what, "version": version, "actor": actor, "told": False}
        entry = Entry(
            key=f"alias:{alias}:{change}",
            at=at,
            actor=actor,
            action=Action.ALIAS,
            alias=alias,
            version=version,
            previous=(last[1] or None) if last else None,
            share=share_of(Plans(self.engine, self.usecase).current(), version),
            reason=why or f"alias {alias} {f'set to version {version}' if version else 'removed'} by {actor}",
            evidence=what,
        )
        with self.engine.begin() as connection:
            is_new = inserted(connection, insert(self.engine, CHANGES).values(row).on_conflict_do_nothing())
            if is_new:
                Ledger(self.engine, self.usecase).enter_within(connection, entry)
        return change if is_new else None

    def claim(self, alias: str, change: int, rollout: str) -> bool:
        """Claim a change of an alias for a rollout; true for one rollout only, which may claim it again."""
        here = (CHANGES.c.usecase == self.usecase, CHANGES.c.alias == alias, CHANGES.c.change == change)
        with self.engine.begin() as connection:
            connection.execute(sa.update(CHANGES).where(*here, CHANGES.c.rollout.is_(None)).values(rollout=rollout))
            holder = connection.scalar(sa.select(CHANGES.c.rollout).where(*here))
        return bool(holder == rollout)

    def tell(self, alias: str, actor: str, again: bool = False) -> tuple[int, str] | None:
        """The alias's last change and its version, if `actor` made it and no rollout has begun for it.

        Of several callers, one gets it; with `again`, also a caller after it.
        """
        here = (CHANGES.c.usecase == self.usecase, CHANGES.c.alias == alias)
        with self.engine.connect() as connection:
            query = sa.select(CHANGES).where(*here).order_by(CHANGES.c.change.desc()).limit(1)
            row = connection.execute(query).mappings().first()
        if row is None or row["actor"] != actor or not row["version"] or row["rollout"] or (row["told"] and not again):
            return None
        unheard = (CHANGES.c.change == row["change"], CHANGES.c.told == row["told"])
        with self.engine.begin() as connection:
            heard = connection.execute(sa.update(CHANGES).where(*here, *unheard).values(told=True)).rowcount
        return (row["change"], row["version"]) if heard else None
