"""The records database: SQLite on a laptop, PostgreSQL in production, by URI."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from pipelines.engines import open_engine
from pipelines.instants import from_micros, micros
from pipelines.sqlite import tune

METADATA = sa.MetaData()
APPEND_ONLY = "append_only"  # in a table's `info`: its rows are neither changed nor deleted, and triggers see to it
VARIABLE = "FLIGHTDECK_RECORDS_URI"


class Instant(sa.types.TypeDecorator[datetime]):
    """An aware datetime, kept as microseconds since 1970 in UTC: the same in every database, and ordered."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> int | None:
        if value is not None and value.tzinfo is None:
            raise ValueError(f"{value} has no time zone; give an aware datetime")
        return None if value is None else micros(value)

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> datetime | None:
        return None if value is None else from_micros(value)


def open_records(uri: str) -> sa.Engine:
    """The engine of the records database, whose tables exist; errors as `open_engine`.

    On SQLite readers do not wait, and writers wait for one another.
    """
    engine = open_engine(uri, VARIABLE, "the records database")
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", lambda connection, _: tune(connection))
    for table in METADATA.sorted_tables:  # `create_all` looks first and then creates: of two processes one would fail
        with engine.begin() as connection:
            connection.execute(sa.schema.CreateTable(table, if_not_exists=True))
            for index in sorted(table.indexes, key=lambda index: str(index.name)):
                connection.execute(sa.schema.CreateIndex(index, if_not_exists=True))
        if table.info.get(APPEND_ONLY):
            _guard(engine, table)
    return engine


def _guard(engine: sa.Engine, table: sa.Table) -> None:
    """Triggers that refuse to change or delete a row."""
    for name, statement in guards(table.name, engine.dialect.name).items():
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(sa.text("select pg_advisory_xact_lock(7301)"))  # two that begin at once would clash
                there = "select 1 from pg_trigger where tgname = :name"
                if connection.execute(sa.text(there), {"name": name}).first():
                    continue
            for part in statement:
                connection.exec_driver_sql(part)


def guards(table: str, dialect: str) -> dict[str, tuple[str, ...]]:
    """By the name of a trigger, the statements that make it; none for other databases than SQLite and PostgreSQL."""
    said = f"{table} is append-only: write another entry instead"
    if dialect == "sqlite":
        return {
            f"{table}_no_{verb}": (
                f"create trigger if not exists {table}_no_{verb} before {verb} on {table} "
                f"begin select raise(abort, '{said}'); end",
            )
            for verb in ("update", "delete")
        }
    if dialect == "postgresql":
        function = f"{table}_is_append_only"
        return {
            f"{table}_append_only": (
                f"create or replace function {function}() returns trigger language plpgsql as "
                f"$$ begin raise exception '{said}'; end $$",
                f"create trigger {table}_append_only before update or delete or truncate on {table} "
                f"for each statement execute function {function}()",
            )
        }
    return {}


def insert(engine: sa.Engine, table: sa.Table) -> Any:
    """An insert that knows `on_conflict_do_...` of the engine's database."""
    return (postgresql if engine.dialect.name == "postgresql" else sqlite).insert(table)
