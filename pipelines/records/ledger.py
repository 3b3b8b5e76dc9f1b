"""The promotion ledger: who did what to a version, when, why and on what evidence. Triggers make it append-only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from pipelines.records.database import APPEND_ONLY, METADATA, Instant, Repository, insert, inserted, text_of


class Action(StrEnum):
    """What was done to a version."""

    REGISTER = "register"
    ALIAS = "alias"  # `Entry.alias` was set to the version, moved or removed
    START = "start"
    ADVANCE = "advance"
    PROMOTE = "promote"
    ROLLBACK = "rollback"
    ABORT = "abort"
    INCONCLUSIVE = "inconclusive"
    FORCED_PROMOTION = "forced_promotion"
    REFUSED = "refused"
    VERIFY = "verify"


PROMOTIONS = (Action.PROMOTE, Action.FORCED_PROMOTION)

LEDGER = sa.Table(
    "promotion_ledger",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("usecase", sa.String(64), nullable=False, index=True),
    sa.Column("key", sa.String(255), nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.Column("actor", sa.String(64), nullable=False),
    sa.Column("action", text_of(Action, 32), nullable=False),
    sa.Column("version", sa.String(16), nullable=False),
    sa.Column("previous", sa.String(16)),
    sa.Column("share", sa.Float, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("evidence", sa.JSON, nullable=False),
    sa.Column("alias", sa.String(64)),
    sa.UniqueConstraint("usecase", "key"),
    info={APPEND_ONLY: True},
)


@dataclass(frozen=True)
class Entry:
    """One line of the ledger.

    Attributes:
        key: unique; an entry that is written twice is kept once.
        actor: who or what acted (a DAG, a person, out-of-band).
        previous: the version that had the traffic before.
        alias: the alias that was changed; None for other actions.
    """

    key: str
    at: datetime
    actor: str
    action: Action
    version: str
    previous: str | None
    share: float
    reason: str
    evidence: Mapping[str, Any]
    alias: str | None = None

    @property
    def title(self) -> str:
        """The action, with the alias if it changed one."""
        return f"{self.action} {self.alias}" if self.alias else str(self.action)


COLUMNS = [LEDGER.c[field.name] for field in fields(Entry)]


class Ledger(Repository):
    """The ledger of one use case. Entries are never changed."""

    def enter(self, entry: Entry) -> bool:
        """Append an entry; false if there is one with its key."""
        with self.engine.begin() as connection:
            return self.enter_within(connection, entry)

    def enter_within(self, connection: sa.Connection, entry: Entry) -> bool:
        """As `enter`, within the caller's transaction."""
        statement = insert(self.engine, LEDGER).values({"usecase": self.usecase, **asdict(entry)})
        once = statement.on_conflict_do_nothing(index_elements=["usecase", "key"])
        return bool(inserted(connection, once))

    def entries(self, aliases: bool = False) -> list[Entry]:
        """Every entry, oldest first; with the changes of aliases if `aliases`."""
        query = sa.select(*COLUMNS).where(LEDGER.c.usecase == self.usecase).order_by(LEDGER.c.number)
        if not aliases:
            query = query.where(LEDGER.c.action != Action.ALIAS)
        with self.engine.connect() as connection:
            return [Entry(**row) for row in connection.execute(query).mappings()]

    def has(self, key: str) -> bool:
        """Whether there is an entry with this key."""
        query = sa.select(LEDGER.c.number).where(LEDGER.c.usecase == self.usecase, LEDGER.c.key == key)
        with self.engine.connect() as connection:
            return connection.scalar(query) is not None

    def last_promoted(self) -> str | None:
        """The version that was last given all the traffic; None before the first."""
        query = sa.select(LEDGER.c.version).where(LEDGER.c.usecase == self.usecase, LEDGER.c.action.in_(PROMOTIONS))
        with self.engine.connect() as connection:
            return connection.scalar(query.order_by(LEDGER.c.number.desc()).limit(1))
