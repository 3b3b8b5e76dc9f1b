"""The records database: how it is opened, its column types, and the base of its repositories."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from pipelines.engines import open_engine
from pipelines.errors import InvalidInput
from pipelines.instants import from_micros, micros
from pipelines.periods import Period, name_of, parse_name
from pipelines.records.migrations import bring_to_head
from pipelines.sqlite import tune

METADATA = sa.MetaData()
APPEND_ONLY = "append_only"  # in a table's `info`: migrations protect its rows by triggers from change and deletion
VARIABLE = "FLIGHTDECK_RECORDS_URI"


class Instant(sa.types.TypeDecorator[datetime]):
    """An aware datetime, stored as microseconds since 1970 in UTC: the same in every database, and sortable."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> int | None:
        return None if value is None else to_micros(value)

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> datetime | None:
        return None if value is None else from_micros(value)


def to_micros(instant: datetime) -> int:
    """An instant as it is stored.

    Raises:
        ValueError: if it has no time zone.
    """
    if instant.tzinfo is None:
        raise ValueError(f"{instant} has no time zone; give an aware datetime")
    return micros(instant)


class PeriodName(sa.types.TypeDecorator[Period]):
    """A period, stored by its name, which sorts."""

    impl = sa.String(20)
    cache_ok = True

    def process_bind_param(self, value: Period | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else name_of(value)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Period | None:
        return None if value is None else parse_name(value)


class Numbers(sa.types.TypeDecorator[dict[str, float | None]]):
    """Numbers by name, as JSON; NaN and infinities as text, since JSON has none and PostgreSQL refuses them."""

    impl = sa.JSON
    cache_ok = True

    def process_bind_param(self, value: Mapping[str, float | None] | None, dialect: sa.Dialect) -> Any:
        if value is None:
            return None
        return {name: n if n is None or math.isfinite(n) else str(n) for name, n in value.items()}

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> dict[str, float | None] | None:
        if value is None:
            return None
        return {name: float(n) if isinstance(n, str) else n for name, n in value.items()}


def text_of(values: type[StrEnum], length: int) -> sa.Enum:
    """The type of a column that holds the values of an enum as plain text."""
    return sa.Enum(
        values,
        native_enum=False,
        create_constraint=False,
        length=length,
        values_callable=lambda members: [member.value for member in members],
    )


def open_records(uri: str, fsync: bool = False, patience: float = 30) -> sa.Engine:
    """Open the records database and bring it to the tables of this version; further errors as `open_engine`.

    On SQLite readers do not wait, and writers wait for one another.

    Raises:
        InvalidInput: if it is neither SQLite nor PostgreSQL, or of a newer version.
    """
    engine = open_engine(uri, VARIABLE, "the records database", patience)
    if engine.dialect.name not in ("sqlite", "postgresql"):
        raise InvalidInput(f"{VARIABLE} is of {engine.dialect.name}; records are kept in SQLite or PostgreSQL")
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", lambda connection, _: tune(connection, fsync))
    bring_to_head(engine)
    return engine


class Repository:
    """The part of the records that belongs to one use case."""

    def __init__(self, engine: sa.Engine, usecase: str) -> None:
        self.engine, self.usecase = engine, usecase


def inserted(connection: sa.Connection, statement: Any) -> int:
    """Run an insert, and give the number of rows that it inserted; 0 if they were there already."""
    return connection.execute(statement, execution_options={"preserve_rowcount": True}).rowcount


def to_json(values: Mapping[str, Any]) -> str:
    """The JSON text of a column, fast; NaN and infinities, which JSON does not have, are null."""
    return msgspec.json.encode(values).decode()


def inserted_columns(connection: sa.Connection, table: sa.Table, columns: Mapping[str, Sequence[Any]], key: str) -> int:
    """Insert rows of a table that has none of their keys, and give how many those are.

    Args:
        columns: all of the table, with values as the driver takes them: it is many times faster than SQLAlchemy's
            conversion of each.
        key: the column by which rows are in order for every caller, so that two that write the same ones cannot
            deadlock.
    """
    statement, names = insert_statement(table, f"{connection.dialect.name}+{connection.dialect.driver}")
    ordered = names or [*columns]
    place = ordered.index(key)
    rows = sorted(zip(*(columns[name] for name in ordered), strict=True), key=lambda row: row[place])
    given = rows if names else [dict(zip(ordered, row, strict=True)) for row in rows]
    return connection.exec_driver_sql(statement, given, {"preserve_rowcount": True}).rowcount


@lru_cache
def insert_statement(table: sa.Table, driver: str) -> tuple[str, Sequence[str] | None]:
    """An insert of rows whose keys are new, for a driver, and the order of its parameters; None where they have names.

    Args:
        driver: such as "sqlite+pysqlite".
    """
    dialect = sa.make_url(f"{driver}://").get_dialect()()
    compiled = _inserts(dialect).insert(table).on_conflict_do_nothing().compile(dialect=dialect)
    return str(compiled), compiled.positiontup


def insert(engine: sa.Engine, table: sa.Table) -> Any:
    """An insert that knows `on_conflict_do_...` of the engine's database."""
    return _inserts(engine.dialect).insert(table)


def _inserts(dialect: sa.Dialect) -> Any:
    return postgresql if dialect.name == "postgresql" else sqlite
