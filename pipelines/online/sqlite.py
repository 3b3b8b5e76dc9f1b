"""Online rows in SQLite, as `UtcSqliteOnlineStore` lays them out: a row a feature, instants in microseconds of UTC."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pipelines.instants import from_micros, micros
from pipelines.online.feast_sqlite import INSERT, create, holds_instants
from pipelines.online.rows import Held, OnlineView, Rows, Span
from pipelines.quoting import quoted
from pipelines.sqlite import tune

if TYPE_CHECKING:
    from feast import FeatureStore

GIVEN = "flightdeck_given"
MOST = 500  # keys in one query


class SqliteRows:
    """The tables of a Feast project in an SQLite file. A `put` is one transaction.

    Feast's own connection, tuned: it waits for no disk, and others read while it writes.
    """

    def __init__(self, store: FeatureStore) -> None:
        self._config, self._online = store.config, store._get_provider().online_store
        tune(self._connection)

    @property
    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection = self._online._get_conn(self._config)
        return connection

    def _table(self, view: str) -> str:
        return f"{self._config.project}_{view}"

    def given(self, view: str) -> str | None:
        connection = self._connection
        if not holds_instants(connection, self._table(view)):  # what was noted of an old table counts for nothing
            return None
        if not connection.execute("select 1 from sqlite_master where name = ?", (GIVEN,)).fetchone():
            return None
        row = connection.execute(f"select given from {GIVEN} where feature_view = ?", (view,)).fetchone()
        return row and str(row[0])

    def begun(self, view: str) -> datetime | None:
        return None

    def put(self, view: OnlineView, rows: Rows, span: Span, given: str) -> None:
        name, last = self._table(view.name), micros(span.last_at)
        with self._connection as connection:
            connection.execute("begin immediate")
            connection.execute(f"create table if not exists {GIVEN} (feature_view text primary key, given text)")
            create(connection, name)
            if span.anew:
                first = micros(span.first_at) if span.first_at else -(2**62)
                connection.execute(f"delete from {quoted(name)} where event_ts between ? and ?", (first, last))
            connection.executemany(f"{INSERT.format(quoted(name))} where event_ts <= {last}", _cells(view, rows))
            connection.execute(f"insert or replace into {GIVEN} values (?, ?)", (view.name, given))

    def push(self, view: OnlineView, rows: Rows) -> None:
        name = self._table(view.name)
        self._online.require_utc(self._config, name)
        with self._connection as connection:
            connection.execute("begin immediate")
            if not holds_instants(connection, name):
                create(connection, name)
            connection.executemany(INSERT.format(quoted(name)), _cells(view, rows))

    def get(self, asked: Sequence[tuple[OnlineView, Sequence[bytes]]]) -> list[dict[bytes, Held]]:
        connection, found = self._connection, []
        for view, keys in asked:
            name = self._table(view.name)
            self._online.require_utc(self._config, name)
            held: dict[bytes, Held] = {}
            for first in range(0, len(keys), MOST):
                some = keys[first : first + MOST]
                cells = connection.execute(
                    f"""select entity_key, feature_name, value, event_ts + 0 from {quoted(name)}
                    where entity_key in ({",".join("?" * len(some))})""",
                    some,
                )
                for key, cells_of_key in itertools.groupby(cells, key=lambda cell: cell[0]):
                    of_key = [*cells_of_key]
                    held[key] = (from_micros(of_key[0][3]), {name: value for _, name, value, _ in of_key})
            found.append(held)
        return found


def _cells(view: OnlineView, rows: Rows) -> Iterator[tuple[Any, ...]]:
    for name in view.features:
        names = itertools.repeat(name)
        yield from zip(rows.keys, names, rows.values[name], rows.texts[name], rows.known, rows.created, strict=False)
