"""The history of raw partitions, and the watermark up to which each source has been read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime

import sqlalchemy as sa

from pipelines.records.database import METADATA, Instant, Repository, insert

HISTORY = sa.Table(
    "partition_history",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("usecase", sa.String(64), nullable=False),
    sa.Column("table", sa.String(64), nullable=False),
    sa.Column("period", sa.String(20), nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("added", sa.Integer),
    sa.Column("removed", sa.Integer),
    sa.Column("as_of", Instant, nullable=False),
    sa.Column("start", sa.String(20), nullable=False),
    sa.Column("end", sa.String(20), nullable=False),
    sa.Index("ix_partition_history", "usecase", "table", "period"),
)
WATERMARKS = sa.Table(
    "watermarks",
    METADATA,
    sa.Column("usecase", sa.String(64), primary_key=True),
    sa.Column("table", sa.String(64), primary_key=True),
    sa.Column("at", Instant, nullable=False),
)


@dataclass(frozen=True)
class Written:
    """A raw partition as one run wrote it.

    Attributes:
        period: its name (see `pipelines.periods`), "all" for a reference table.
        sha256: of its file.
        added: rows that were not in the partition before (a corrected row counts as one added and one removed); None
            if there was no partition.
        as_of: end of the window that the run ingested.
        start, end: names of that window's first period and of the one after its last.
    """

    table: str
    period: str
    sha256: str
    rows: int
    added: int | None
    removed: int | None
    as_of: datetime
    start: str
    end: str

    @property
    def is_restatement(self) -> bool:
        return self.added is not None


class PartitionHistory(Repository):
    """Append-only. A partition that is written again without a change adds no line."""

    def newest(self, table: str) -> Mapping[str, str]:
        """sha256 of the partition last written, by period."""
        last = (
            sa.select(sa.func.max(HISTORY.c.number))
            .where(HISTORY.c.usecase == self.usecase, HISTORY.c.table == table)
            .group_by(HISTORY.c.period)
        )
        with self.engine.connect() as connection:
            rows = connection.execute(sa.select(HISTORY.c.period, HISTORY.c.sha256).where(HISTORY.c.number.in_(last)))
            return {period: sha256 for period, sha256 in rows}  # noqa: C416 - dict() reads a result by its keys

    def note(self, written: Sequence[Written]) -> None:
        if written:
            with self.engine.begin() as connection:
                connection.execute(sa.insert(HISTORY), [{"usecase": self.usecase, **asdict(one)} for one in written])

    def lines(self, table: str | None = None, period: str | None = None, restated: bool = False) -> list[Written]:
        """The partitions written, oldest first; only restatements if `restated`."""
        conditions: Iterable[sa.ColumnElement[bool]] = (
            *([HISTORY.c.table == table] if table else []),
            *([HISTORY.c.period == period] if period else []),
            *([HISTORY.c.added.is_not(None)] if restated else []),
        )
        names = [HISTORY.c[field.name] for field in fields(Written)]
        query = sa.select(*names).where(HISTORY.c.usecase == self.usecase, *conditions).order_by(HISTORY.c.number)
        with self.engine.connect() as connection:
            return [Written(**row) for row in connection.execute(query).mappings()]

    def watermark(self, table: str) -> datetime | None:
        """The instant before which all changes of a table have been ingested."""
        query = sa.select(WATERMARKS.c.at).where(WATERMARKS.c.usecase == self.usecase, WATERMARKS.c.table == table)
        with self.engine.connect() as connection:
            return connection.scalar(query)

    def move_watermark(self, table: str, at: datetime) -> None:
        """Advance the watermark; it never goes back."""
        statement = insert(self.engine, WATERMARKS).values(usecase=self.usecase, table=table, at=at)
        later = statement.on_conflict_do_update(
            index_elements=["usecase", "table"],
            set_={"at": statement.excluded.at},
            where=WATERMARKS.c.at < statement.excluded.at,
        )
        with self.engine.begin() as connection:
            connection.execute(later)
