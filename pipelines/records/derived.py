"""The inputs from which validated partitions and features were derived, so that outdated ones can be detected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import sqlalchemy as sa

from pipelines.periods import Period, name_of, parse_name
from pipelines.records.database import METADATA, Repository, insert
from pipelines.records.partitions import HISTORY

VALIDATED = sa.Table(
    "validated_partitions",
    METADATA,
    sa.Column("usecase", sa.String(64), primary_key=True),
    sa.Column("table", sa.String(64), primary_key=True),
    sa.Column("period", sa.String(20), primary_key=True),
    sa.Column("raw_sha256", sa.String(64), nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("columns", sa.JSON),
)
BUILT = sa.Table(
    "built_features",
    METADATA,
    sa.Column("usecase", sa.String(64), primary_key=True),
    sa.Column("table", sa.String(64), primary_key=True),
    sa.Column("period", sa.String(20), primary_key=True),
    sa.Column("sha256", sa.String(64), nullable=False),
)


class Validated(NamedTuple):
    """A validated partition.

    Attributes:
        raw: sha256 of the raw partition that it was made from.
        sha256: its own.
        columns: a digest of each of its columns; None for one that was validated before these were recorded.
    """

    raw: str
    sha256: str
    columns: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Unvalidated:
    """A period of a raw table whose present partition has not been validated.

    Attributes:
        seen: sha256 of the partition that was validated last; None if none was.
        expected: whether it is in the window of the run that wrote it last, which then validates it.
    """

    table: str
    period: Period
    seen: str | None
    expected: bool


class Derivations(Repository):
    """The derivations of one use case. Each is recorded after its files are written, never before."""

    def note_validated(self, table: str, partitions: Mapping[str, Validated]) -> None:
        """Note the validated partitions of periods ("all" for a reference table)."""
        rows = [
            {"table": table, "period": of, "raw_sha256": one.raw, "sha256": one.sha256, "columns": one.columns}
            for of, one in partitions.items()
        ]
        self._note(VALIDATED, rows)

    def note_built(self, table: str, digests: Mapping[Period, str]) -> None:
        """Period of a feature table -> digest of its declaration and of the validated partitions it was built from."""
        rows = [{"table": table, "period": name_of(period), "sha256": digest} for period, digest in digests.items()]
        self._note(BUILT, rows)

    def validated(self, table: str) -> dict[str, Validated]:
        """The last record of `note_validated`, by the name of the period."""
        query = sa.select(VALIDATED.c.period, VALIDATED.c.raw_sha256, VALIDATED.c.sha256, VALIDATED.c["columns"])
        query = query.where(VALIDATED.c.usecase == self.usecase, VALIDATED.c.table == table)
        with self.engine.connect() as connection:
            return {period: Validated(*noted) for period, *noted in connection.execute(query)}

    def built(self) -> dict[Period, dict[str, str]]:
        """The last records of `note_built`, by period and feature table."""
        query = sa.select(BUILT.c.period, BUILT.c.table, BUILT.c.sha256).where(BUILT.c.usecase == self.usecase)
        noted: dict[Period, dict[str, str]] = {}
        with self.engine.connect() as connection:
            for name, table, sha256 in connection.execute(query):
                noted.setdefault(parse_name(name), {})[table] = sha256
        return noted

    def unvalidated(self) -> list[Unvalidated]:
        """Periods whose newest raw partition is not the one that was validated last, oldest first."""
        ours = (HISTORY.c.usecase == self.usecase, HISTORY.c.period != "all")
        last = sa.select(sa.func.max(HISTORY.c.number)).where(*ours).group_by(HISTORY.c.table, HISTORY.c.period)
        same = (VALIDATED.c[name] == HISTORY.c[name] for name in ("usecase", "table", "period"))
        query = (
            sa.select(HISTORY.c.table, HISTORY.c.period, VALIDATED.c.raw_sha256, HISTORY.c.start, HISTORY.c.end)
            .select_from(HISTORY.outerjoin(VALIDATED, sa.and_(*same)))
            .where(HISTORY.c.number.in_(last))
            .where(sa.or_(VALIDATED.c.raw_sha256.is_(None), VALIDATED.c.raw_sha256 != HISTORY.c.sha256))
            .order_by(HISTORY.c.period, HISTORY.c.table)
        )
        with self.engine.connect() as connection:
            return [
                Unvalidated(table, parse_name(name), validated_sha256, start <= name < end)
                for table, name, validated_sha256, start, end in connection.execute(query)
            ]

    def _note(self, table: sa.Table, rows: Sequence[Mapping[str, object]]) -> None:
        if not rows:
            return
        statement = insert(self.engine, table)
        keys = [column.name for column in table.primary_key.columns]
        updates = {column.name: statement.excluded[column.name] for column in table.columns if column.name not in keys}
        upsert = statement.on_conflict_do_update(index_elements=keys, set_=updates)
        with self.engine.begin() as connection:
            connection.execute(upsert, [{"usecase": self.usecase, **row} for row in rows])
