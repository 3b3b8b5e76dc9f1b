"""A table or view of any database that SQLAlchemy speaks to."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from pipelines.engines import OUTSIDE
from pipelines.errors import CorruptData, InvalidInput, MissingData, Unavailable
from pipelines.instants import read_from
from pipelines.params.source import Sql, fill
from pipelines.sources.conform import require_columns
from pipelines.sources.source import Delivery, Piece
from pipelines.sources.values import table_of
from pipelines.usecase import RawTable

SECRET = re.compile(r"pass|pwd|secret|token|key", re.IGNORECASE)  # in the name of a driver's option


class SqlSource:
    """Reads the rows of the window's periods or, if incremental, the changes since the watermark. Never writes."""

    def __init__(self, settings: Sql, timezone: str) -> None:
        self.settings = settings
        self.timezone = timezone

    def read(self, delivery: Delivery) -> Iterator[Piece]:
        engine = self._engine()
        try:
            with engine.connect().execution_options(
                stream_results=True, yield_per=self.settings.batch_rows
            ) as connection:
                table = self._reflect(connection, delivery)
                names = [column.name for column in table.columns]
                require_columns(names, delivery.table)
                result = connection.execute(self._query(table, delivery))
                yield Piece(_table(names, [], delivery.table, table.name))
                for rows in result.partitions():
                    yield Piece(_table(names, rows, delivery.table, table.name))
        except (ValueError, TypeError) as error:  # a value of another type: SQLite keeps any text in any column
            raise CorruptData(
                f"table {delivery.table.name}: a value is not of its column's type in the database "
                f"({' '.join(str(error).split())[:200]}); correct the source"
            ) from None
        except sa.exc.SQLAlchemyError as error:
            message = _without(str(getattr(error, "orig", None) or type(error).__name__), engine.url)
            words = (
                f"the database of {self.settings.url_env} cannot be read for {delivery.table.name} "
                f"({' '.join(message.split())[:200]})"
            )
            if isinstance(error, OUTSIDE):
                raise Unavailable(f"{words}; see that it is up, and run the step again") from None
            raise MissingData(f"{words}; correct the source or its variable") from None
        finally:
            engine.dispose()

    def _engine(self) -> sa.Engine:
        url = os.environ.get(self.settings.url_env)
        if not url:
            raise InvalidInput(f"{self.settings.url_env} is not set; it holds the URL of the source's database")
        try:
            return sa.create_engine(url, hide_parameters=True)
        except Exception:  # the URL, its options or the driver's import
            raise InvalidInput(
                f"{self.settings.url_env} is not a database URL, or its driver is not installed (not shown: it may "
                "hold a password); correct it"
            ) from None

    def _reflect(self, connection: sa.Connection, delivery: Delivery) -> sa.Table:
        name = fill(self.settings.table, {"table": delivery.table.name})
        try:
            return sa.Table(
                name, sa.MetaData(), autoload_with=connection, schema=self.settings.schema_name, resolve_fks=False
            )
        except sa.exc.NoSuchTableError:
            raise MissingData(
                f"the database of {self.settings.url_env} has no table {name}; correct source.table"
            ) from None

    def _query(self, table: sa.Table, delivery: Delivery) -> Any:
        window, query = delivery.window, sa.select(table)
        if self.settings.incremental and delivery.table.known:
            column = table.c[delivery.table.known]
            if not isinstance(column.type, sa.DateTime):
                raise CorruptData(
                    f"column {column.name} of {table.name} is {column.type}; an incremental source needs instants there"
                )
            condition = column < self._bound(column, window.end_at)
            if delivery.since is not None:
                condition = sa.and_(condition, column >= self._bound(column, delivery.since))
            return query.where(sa.or_(column.is_(None), condition))  # a null does not say that it was read
        at = None if delivery.table.day is None else table.c[delivery.table.day]
        if at is not None and isinstance(at.type, sa.Date) and window.calendar.daily:
            return query.where(sa.or_(at.is_(None), sa.and_(at >= window.start, at < window.end)))
        if at is not None and isinstance(at.type, sa.DateTime):
            first, last = self._bound(at, window.start_at), self._bound(at, window.end_at)
            return query.where(sa.or_(at.is_(None), sa.and_(at >= first, at < last)))
        return query  # of a type that the database cannot compare: read all rows, and select later

    def _bound(self, column: Any, at: datetime) -> datetime:
        """An instant as the column has it."""
        return at if column.type.timezone else read_from(at, self.timezone, self.settings.ambiguous)


def _without(message: str, url: sa.URL) -> str:
    """A driver's message without the passwords of its URL."""
    secrets = [url.password, *(str(value) for name, value in url.query.items() if SECRET.search(name))]
    for secret in filter(None, secrets):
        message = message.replace(str(secret), "...")
    return message


def _table(names: Sequence[str], rows: Sequence[Any], table: RawTable, source: str) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else ((),) * len(names)
    return table_of(names, list(columns), table, source)
