"""Online rows in SQLite in the layout of `UtcSqliteOnlineStore`: a row for each feature, instants in microseconds."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from pipelines.instants import from_micros, micros
from pipelines.online import changes
from pipelines.online.feast_sqlite import INSERT, create, holds_instants
from pipelines.online.rows import Changed, EncodedRows, OnlineView, Span, StoredRow
from pipelines.quoting import quoted
from pipelines.sqlite import tune

if TYPE_CHECKING:
    from feast import FeatureStore

NOTES = "flightdeck_given"
MANY = 10_000  # entities that change at once; beyond that whoever keeps rows reads all anew
CHECKPOINT = 10_000  # pages between two checkpoints, which wait for the disk
MOST = 512  # keys in one query


class SqliteRows:
    """The tables of a Feast project in an SQLite file. A `put` is one transaction.

    The connection is Feast's own, tuned: writes do not wait for the disk, and others can read meanwhile.
    """

    failures: tuple[type[Exception], ...] = (sqlite3.Error,)

    def __init__(self, store: FeatureStore, patience: float | None = None) -> None:
        self._config, self._online = store.config, store._get_provider().online_store
        tune(self._connection)
        self._connection.execute(f"pragma wal_autocheckpoint = {CHECKPOINT}")
        if patience is not None:
            self._connection.execute(f"pragma busy_timeout = {int(patience * 1000)}")

    @property
    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection = self._online._get_conn(self._config)
        return connection

    def _table(self, view: str) -> str:
        return f"{self._config.project}_{view}"

    def read_note(self, view: str) -> str | None:
        connection = self._connection
        if not holds_instants(connection, self._table(view)):  # the note of a table of the old convention is void
            return None
        if not connection.execute("select 1 from sqlite_master where name = ?", (NOTES,)).fetchone():
            return None
        row = connection.execute(f"select given from {NOTES} where feature_view = ?", (view,)).fetchone()
        return row and str(row[0])

    def interrupted_at(self, view: str) -> datetime | None:
        return None

    def put(self, view: OnlineView, rows: EncodedRows, span: Span, note: str) -> None:
        name, last = self._table(view.name), micros(span.last_at)
        with self._connection as connection:
            connection.execute("begin immediate")
            connection.execute(f"create table if not exists {NOTES} (feature_view text primary key, given text)")
            create(connection, name)
            if span.anew:
                first = micros(span.first_at) if span.first_at else -(2**62)
                connection.execute(f"delete from {quoted(name)} where event_ts between ? and ?", (first, last))
            connection.executemany(f"{INSERT.format(quoted(name))} where event_ts <= {last}", _cells(view, rows))
            changes.note(connection, name, None if span.anew or len(rows.keys) > MANY else rows.keys)
            connection.execute(f"insert or replace into {NOTES} values (?, ?)", (view.name, note))

    def push(self, view: OnlineView, rows: EncodedRows) -> None:
        name = self._table(view.name)
        self._online.require_utc(self._config, name)
        with self._connection as connection:
            connection.execute("begin immediate")
            if not holds_instants(connection, name):
                create(connection, name)
            connection.executemany(INSERT.format(quoted(name)), _cells(view, rows))
            changes.note(connection, name, rows.keys)

    def changed(self, mark: object) -> tuple[object, Changed]:
        connection = self._connection
        (others,) = connection.execute("pragma data_version").fetchone()  # commits of all other connections
        writes = (others, connection.total_changes)
        before, number = mark if isinstance(mark, tuple) else (None, 0)
        if writes == before:
            return mark, {}
        number, changed = changes.since(connection, number)
        if not changed or before is None or any(entity is None for _, entity in changed):
            return (writes, number), None  # by other means than ours, or too many
        prefix, by_view = f"{self._config.project}_", dict[str, set[bytes]]()
        for table, entity in changed:
            if entity is not None:
                by_view.setdefault(table.removeprefix(prefix), set()).add(entity)
        return (writes, number), by_view

    def get(self, lookups: Sequence[tuple[OnlineView, Sequence[bytes]]]) -> list[dict[bytes, StoredRow]]:
        results: list[dict[bytes, StoredRow]] = [{} for _ in lookups]
        asked = [(result, view, keys) for result, (view, keys) in zip(results, lookups, strict=True)]
        for keys, of_views in itertools.groupby(asked, key=itemgetter(2)):
            group = [(result, view) for result, view, _ in of_views]
            for first in range(0, len(keys), MOST):
                self._fill(group, keys[first : first + MOST])
        return results

    def _fill(self, group: Sequence[tuple[dict[bytes, StoredRow], OnlineView]], keys: Sequence[bytes]) -> None:
        """Read the same keys of some views."""
        tables = [self._table(view.name) for _, view in group]
        for table in tables:
            self._online.require_utc(self._config, table)
        given = [*keys, *[keys[-1]] * (_rounded(len(keys)) - len(keys))]
        for n, key, name, value, at in self._connection.execute(_query(tuple(tables), len(given)), given):
            rows = group[n][0]
            if key not in rows:
                rows[key] = (from_micros(at), {})
            rows[key][1][name] = value


def _rounded(count: int) -> int:
    """The next power of two, so that there are few queries, which SQLite then need not parse again."""
    return 1 << (count - 1).bit_length()


@lru_cache(maxsize=256)
def _query(tables: tuple[str, ...], keys: int) -> str:
    """View by view, the cells of some keys."""
    places = ",".join(f"?{n + 1}" for n in range(keys))
    return " union all ".join(
        f"select {n}, entity_key, feature_name, value, event_ts + 0 from {quoted(table)} where entity_key in ({places})"
        for n, table in enumerate(tables)
    )


def _cells(view: OnlineView, rows: EncodedRows) -> Iterator[tuple[Any, ...]]:
    for name in view.features:
        names = itertools.repeat(name)
        yield from zip(
            rows.keys, names, rows.values[name], rows.texts[name], rows.known_at, rows.created_at, strict=False
        )
