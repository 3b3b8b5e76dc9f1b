"""Snapshots: the versions of the raw data, in the order in which they were taken."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from pipelines.periods import Period
from pipelines.records.database import METADATA, PeriodName, Repository, insert

SNAPSHOTS = sa.Table(
    "data_snapshots",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("usecase", sa.String(64), nullable=False, index=True),
    sa.Column("key", sa.String(255), nullable=False),
    sa.Column("version", sa.String(40), nullable=False, index=True),
    sa.Column("files", sa.Integer, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("start", PeriodName),
    sa.Column("end", PeriodName),
    sa.Column("run", sa.String(100)),
    sa.UniqueConstraint("usecase", "key"),
)


@dataclass(frozen=True)
class Snapshot:
    """A stored version of the raw data.

    Attributes:
        files, rows: of the version, over all tables.
        start, end: the window that the run ingested, `end` exclusive; None if it ingested none.
        run: the caller's name for the run, if any.
    """

    version: str
    files: int
    rows: int
    start: Period | None = None
    end: Period | None = None
    run: str | None = None

    @property
    def key(self) -> str:
        return f"{self.version}/{self.start or ''}/{self.end or ''}/{self.run or ''}"


class Snapshots(Repository):
    """The snapshots of one use case."""

    def append(self, snapshot: Snapshot) -> None:
        """Append a snapshot. One that is on record (from a retry, or because data returned) moves to the end."""
        row = {"usecase": self.usecase, "key": snapshot.key, **vars(snapshot)}
        same = (SNAPSHOTS.c.usecase == self.usecase, SNAPSHOTS.c.key == snapshot.key)
        with self.engine.begin() as connection:
            connection.execute(sa.delete(SNAPSHOTS).where(*same))
            connection.execute(insert(self.engine, SNAPSHOTS).values(row).on_conflict_do_nothing())

    def taken(self) -> list[Snapshot]:
        """Every snapshot, oldest first."""
        columns = [SNAPSHOTS.c[name] for name in Snapshot.__dataclass_fields__]
        query = sa.select(*columns).where(SNAPSHOTS.c.usecase == self.usecase).order_by(SNAPSHOTS.c.number)
        with self.engine.connect() as connection:
            return [Snapshot(**row) for row in connection.execute(query).mappings()]

    def of_others(self) -> set[str]:
        """Versions recorded by other use cases."""
        query = sa.select(SNAPSHOTS.c.version).where(SNAPSHOTS.c.usecase != self.usecase).distinct()
        with self.engine.connect() as connection:
            return {str(version) for version in connection.scalars(query)}
