"""The writers of the prediction log, and how far each has come."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from pipelines.records.database import METADATA, Instant, Repository, insert

WRITERS = sa.Table(
    "log_writers",
    METADATA,
    sa.Column("usecase", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("watermark", Instant, nullable=False),
    sa.Column("ended_at", Instant),
)


class Writer(NamedTuple):
    """A process that writes predictions and outcomes.

    Attributes:
        watermark: all that it logs of instants before this one is in the log, and it will log nothing more of them.
        ended_at: None while it writes; for one that died, None until a person ends it.
    """

    name: str
    watermark: datetime
    ended_at: datetime | None


class LogWriters(Repository):
    """The writers of one use case."""

    def advance(self, name: str, watermark: datetime) -> None:
        """Advance a writer's watermark, never back; a new or ended writer is active from now on."""
        statement = insert(self.engine, WRITERS).values(usecase=self.usecase, name=name, watermark=watermark)
        before, given = WRITERS.c.watermark, statement.excluded.watermark
        new = {"watermark": sa.case((before > given, before), else_=given), "ended_at": None}
        with self.engine.begin() as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=["usecase", "name"], set_=new))

    def end(self, name: str, at: datetime) -> bool:
        """Record that a writer has ended; false if no active one has this name."""
        writer = WRITERS.c
        active = (writer.usecase == self.usecase, writer.name == name, writer.ended_at.is_(None))
        with self.engine.begin() as connection:
            return bool(connection.execute(sa.update(WRITERS).where(*active).values(ended_at=at)).rowcount)

    def active(self) -> list[Writer]:
        """The active writers, the lowest watermark first."""
        return [writer for writer in self.all() if writer.ended_at is None]

    def all(self) -> list[Writer]:
        """All writers, including ended ones."""
        writer = WRITERS.c
        query = sa.select(writer.name, writer.watermark, writer.ended_at).where(writer.usecase == self.usecase)
        with self.engine.connect() as connection:
            return [Writer(*row) for row in connection.execute(query.order_by(writer.watermark, writer.name))]
