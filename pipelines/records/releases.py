"""Quarantined rows that a person has released although an expectation rejects them. Append-only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime

import sqlalchemy as sa

from pipelines.records.database import METADATA, Instant, Repository, insert, inserted

RELEASES = sa.Table(
    "quarantine_releases",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("usecase", sa.String(64), nullable=False),
    sa.Column("table", sa.String(128), nullable=False),
    sa.Column("partition", sa.String(20), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("reason", sa.String(128), nullable=False),
    sa.Column("actor", sa.String(64), nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.UniqueConstraint("usecase", "table", "partition", "digest", "reason"),
)


@dataclass(frozen=True)
class Release:
    """One row, released for one reason.

    Attributes:
        partition: the name of the period, or `all` for a reference table.
        digest: sha256 of the row's content: a row that changes at its source is another row and validated again.
        reason: code of the expectations that no longer hold the row back.
        at: wall time.
    """

    table: str
    partition: str
    digest: str
    reason: str
    actor: str
    why: str
    at: datetime


class Releases(Repository):
    """The releases of one use case."""

    def add(self, releases: Sequence[Release]) -> int:
        """Write releases, all or none, and give how many are new; the first one for a row and reason is kept."""
        if not releases:
            return 0
        statement = insert(self.engine, RELEASES).on_conflict_do_nothing()
        rows = [{"usecase": self.usecase, **asdict(release)} for release in releases]
        with self.engine.begin() as connection:
            return sum(inserted(connection, statement.values(row)) for row in rows)

    def all(self) -> list[Release]:
        """Every release, oldest first."""
        columns = [RELEASES.c[field.name] for field in fields(Release)]
        query = sa.select(*columns).where(RELEASES.c.usecase == self.usecase).order_by(RELEASES.c.number)
        with self.engine.connect() as connection:
            return [Release(**row) for row in connection.execute(query).mappings()]

    def of(self, table: str) -> Mapping[str, Mapping[str, frozenset[str]]]:
        """The reasons for which rows of a table are released, by partition and digest."""
        released: dict[str, dict[str, frozenset[str]]] = {}
        for release in self.all():
            if release.table == table:
                rows = released.setdefault(release.partition, {})
                rows[release.digest] = rows.get(release.digest, frozenset()) | {release.reason}
        return released

    def fingerprint(self) -> str | None:
        """A hash of all releases, which together with the data version determines validated data; None without any."""
        rows = sorted((one.table, one.partition, one.digest, one.reason) for one in self.all())
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest() if rows else None
