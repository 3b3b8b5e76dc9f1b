"""Online rows in SQLite, as Feast's `SqliteOnlineStore` lays them out: a row a feature, instants in whole seconds."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pipelines.online.rows import Held, OnlineView, Rows, Span
from pipelines.sqlite import tune

if TYPE_CHECKING:
    from feast import FeatureStore

GIVEN = "flightdeck_given"
MOST = 500  # keys in one query
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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

    def _table(self, view: OnlineView) -> str:
        name = f"{self._config.project}_{view.name}".replace('"', '""')
        return f'"{name}"'

    def given(self, view: str) -> str | None:
        connection = self._connection
        if not connection.execute("select 1 from sqlite_master where name = ?", (GIVEN,)).fetchone():
            return None
        row = connection.execute(f"select given from {GIVEN} where feature_view = ?", (view,)).fetchone()
        return row and str(row[0])

    def begun(self, view: str) -> datetime | None:
        return None

    def put(self, view: OnlineView, rows: Rows, span: Span, given: str) -> None:
        table, last = self._table(view), _stored(span.last_at)
        with self._connection as connection:
            connection.execute("begin immediate")
            connection.execute(f"create table if not exists {GIVEN} (feature_view text primary key, given text)")
            if span.anew:
                first = _stored(span.first_at) if span.first_at else -(2**62)
                connection.execute(f"delete from {table} where event_ts between ? and ?", (first, last))
            connection.executemany(
                f"""insert into {table} (entity_key, feature_name, value, value_text, event_ts, created_ts)
                values (?, ?, ?, ?, ?, ?) on conflict (entity_key, feature_name) do update set
                    value = excluded.value, value_text = excluded.value_text, event_ts = excluded.event_ts,
                    created_ts = excluded.created_ts
                where event_ts <= {last}""",
                _cells(view, rows),
            )
            connection.execute(f"insert or replace into {GIVEN} values (?, ?)", (view.name, given))

    def get(self, asked: Sequence[tuple[OnlineView, Sequence[bytes]]]) -> list[dict[bytes, Held]]:
        connection, found = self._connection, []
        for view, keys in asked:
            held: dict[bytes, Held] = {}
            for first in range(0, len(keys), MOST):
                some = keys[first : first + MOST]
                cells = connection.execute(
                    f"""select entity_key, feature_name, value, event_ts from {self._table(view)}
                    where entity_key in ({",".join("?" * len(some))})""",
                    some,
                )
                for key, cells_of_key in itertools.groupby(cells, key=lambda cell: cell[0]):
                    of_key = [*cells_of_key]
                    held[key] = (of_key[0][3].replace(tzinfo=UTC), {name: value for _, name, value, _ in of_key})
            found.append(held)
        return found


def _cells(view: OnlineView, rows: Rows) -> Iterator[tuple[Any, ...]]:
    known = [_stored(EPOCH + timedelta(microseconds=at)) for at in rows.known]
    created = [None if at is None else _stored(EPOCH + timedelta(microseconds=at)) for at in rows.created]
    for name in view.features:
        names = itertools.repeat(name)
        yield from zip(rows.keys, names, rows.values[name], rows.texts[name], known, created, strict=False)


def _stored(instant: datetime) -> int:
    """An instant as Feast writes it: its UTC time of day, taken for local time, in whole seconds since 1970.

    Where the machine's zone is not UTC, times that its clocks skip come back an hour later.
    """
    return int(instant.astimezone(UTC).replace(tzinfo=None).timestamp())
