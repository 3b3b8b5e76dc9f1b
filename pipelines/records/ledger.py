"""The promotion ledger: who or what did what to a version, when, why and on what evidence. Triggers keep it so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from pipelines.records.database import APPEND_ONLY, METADATA, Instant, insert

ALIAS = "alias "  # what the action of an alias's change begins with

LEDGER = sa.Table(
    "promotion_ledger",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("usecase", sa.String(64), nullable=False, index=True),
    sa.Column("key", sa.String(255), nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.Column("actor", sa.String(64), nullable=False),
    sa.Column("action", sa.String(32), nullable=False),
    sa.Column("version", sa.String(16), nullable=False),
    sa.Column("previous", sa.String(16)),
    sa.Column("share", sa.Float, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("evidence", sa.JSON, nullable=False),
    sa.UniqueConstraint("usecase", "key"),
    info={APPEND_ONLY: True},
)


@dataclass(frozen=True)
class Entry:
    """One line of the ledger.

    Attributes:
        key: what makes the entry one: written twice, it stands once.
        actor: who or what acted (a DAG, a person, out-of-band).
        action: register, alias ALIAS, start, promote, rollback, abort, keep, forced_promotion, refused, verify.
        previous: the version that had the traffic before.
    """

    key: str
    at: datetime
    actor: str
    action: str
    version: str
    previous: str | None
    share: float
    reason: str
    evidence: Mapping[str, Any]


class Ledger:
    """The ledger of one use case."""

    def __init__(self, engine: sa.Engine, usecase: str) -> None:
        self.engine, self.usecase = engine, usecase

    def line(self, entry: Entry) -> Any:
        """The statement that appends an entry, unless one of its key stands there."""
        statement = insert(self.engine, LEDGER).values({"usecase": self.usecase, **asdict(entry)})
        return statement.on_conflict_do_nothing(index_elements=["usecase", "key"])

    def enter(self, entry: Entry) -> bool:
        """Append to the ledger; false if an entry of this key stands there. Entries are never changed."""
        with self.engine.begin() as connection:
            return bool(connection.execute(self.line(entry)).rowcount)

    def ledger(self, aliases: bool = False) -> list[Entry]:
        """Every entry, oldest first; the changes of aliases only if asked for."""
        columns = [LEDGER.c[field.name] for field in fields(Entry)]
        query = sa.select(*columns).where(LEDGER.c.usecase == self.usecase).order_by(LEDGER.c.number)
        with self.engine.connect() as connection:
            entries = [Entry(**row) for row in connection.execute(query).mappings()]
        return [entry for entry in entries if aliases or not entry.action.startswith(ALIAS)]
