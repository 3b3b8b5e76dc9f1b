"""Feast's SQLite online store with instants in UTC. Feast finds it by its path in `online_store.type`.

Feast's own store writes instants of UTC through an adapter that treats them as local time, in whole seconds: processes
in two time zones read different instants, and so does a process in an hour that clocks skip or repeat. Here an instant
is a whole number of microseconds since 1970 in UTC. The declared type of the column marks this convention in each
table, and a table of the old one is refused, since the time zone of its writer is unknown.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, Literal

from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import extract_text_and_num
from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig, _table_id
from feast.repo_config import RepoConfig

from pipelines.errors import InvalidInput
from pipelines.instants import from_micros, micros
from pipelines.online import changes
from pipelines.quoting import quoted

CONVENTION = "utc_microseconds"  # declared type of the columns with instants
INSERT = """insert into {} (entity_key, feature_name, value, value_text, event_ts, created_ts) values (?, ?, ?, ?, ?, ?)
    on conflict (entity_key, feature_name) do update set value = excluded.value, value_text = excluded.value_text,
    event_ts = excluded.event_ts, created_ts = excluded.created_ts"""
Row = tuple[Any, dict[str, Any], datetime, datetime | None]  # entity key and values as protobuf, known at, created at


sqlite3.register_converter(CONVENTION, lambda value: from_micros(int(value)))  # by it Feast's own queries read instants


class UtcSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):
    """Settings in feature_store.yaml: the path of the file. Text search is not supported."""

    type: Literal["pipelines.online.feast_sqlite.UtcSqliteOnlineStore"] = (
        "pipelines.online.feast_sqlite.UtcSqliteOnlineStore"
    )
    text_search_enabled: Literal[False] = False
    enable_openai_compatible_store: Literal[False] = False


class UtcSqliteOnlineStore(SqliteOnlineStore):
    """Feast's layout, a table for each view and a row for each feature; for all reads and writes through Feast."""

    def __init__(self) -> None:
        self._checked: set[str] = set()

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[Any],
        tables_to_keep: Sequence[Any],
        entities_to_delete: Sequence[Any],
        entities_to_keep: Sequence[Any],
        partial: bool,
    ) -> None:
        with self._get_conn(config) as connection:
            for view in tables_to_keep:
                name = _name(config, view)
                if holds_old_rows(connection, name):  # a materialization replaces them; until then reads are refused
                    continue
                create(connection, name)
            for view in tables_to_delete:
                connection.execute(f"drop table if exists {quoted(_name(config, view))}")
                changes.note(connection, _name(config, view), None)

    def plan(self, config: RepoConfig, desired_registry_proto: Any) -> list[Any]:
        return []

    def online_write_batch(
        self, config: RepoConfig, table: Any, data: list[Row], progress: Callable[[int], Any] | None
    ) -> None:
        name = _name(config, table)
        self.require_utc(config, name)
        with self._get_conn(config) as connection:
            if not holds_instants(connection, name):
                create(connection, name)
            version = config.entity_key_serialization_version
            connection.executemany(INSERT.format(quoted(name)), _cells(data, version))
            changes.note(connection, name, (serialize_entity_key(row[0], version) for row in data))
        if progress:
            progress(len(data))

    def online_read(
        self, config: RepoConfig, table: Any, entity_keys: list[Any], requested_features: list[str] | None = None
    ) -> list[tuple[datetime | None, dict[str, Any] | None]]:
        self.require_utc(config, _name(config, table))
        rows: list[tuple[datetime | None, dict[str, Any] | None]] = super().online_read(
            config, table, entity_keys, requested_features
        )
        return rows

    def require_utc(self, config: RepoConfig, table: str) -> None:
        """Check that a table's instants are in UTC, once for each table that holds some.

        Raises:
            InvalidInput: if rows of the old convention are in it.
        """
        if table in self._checked:
            return
        connection = self._get_conn(config)
        if holds_old_rows(connection, table):
            raise InvalidInput(
                f"{self._get_db_path(config)}: {table} was written by an earlier version, whose instants depend on the "
                "time zone of the process; run `flightdeck materialize`, which fills it anew from the features"
            )
        if holds_instants(connection, table):
            self._checked.add(table)


def _name(config: RepoConfig, view: Any) -> str:
    name: str = _table_id(config.project, view, config.registry.enable_online_feature_view_versioning)
    return name


def holds_instants(connection: sqlite3.Connection, table: str) -> bool:
    """Whether a table exists and has our convention."""
    return _declared_type(connection, table) == CONVENTION


def holds_old_rows(connection: sqlite3.Connection, table: str) -> bool:
    """Whether a table has rows of another convention."""
    kind = _declared_type(connection, table)
    if kind in {None, CONVENTION}:
        return False
    return connection.execute(f"select 1 from {quoted(table)} limit 1").fetchone() is not None


def create(connection: sqlite3.Connection, table: str) -> None:
    """Create a table of our convention; one of another convention is dropped with its rows."""
    if _declared_type(connection, table) not in {None, CONVENTION}:
        connection.execute(f"drop table {quoted(table)}")
    connection.execute(
        f"""create table if not exists {quoted(table)} (entity_key blob, feature_name text, value blob, value_text text,
        event_ts {CONVENTION}, created_ts {CONVENTION}, primary key (entity_key, feature_name))"""
    )


def _declared_type(connection: sqlite3.Connection, table: str) -> str | None:
    row = connection.execute("select type from pragma_table_info(?) where name = 'event_ts'", (table,)).fetchone()
    return row and str(row[0])


def _cells(data: Sequence[Row], version: int) -> Iterator[tuple[Any, ...]]:
    for key, values, known_at, created_at in data:
        encoded, at = serialize_entity_key(key, version), micros(known_at)
        created = None if created_at is None or created_at != created_at else micros(created_at)  # NaT
        for name, value in values.items():
            yield encoded, name, value.SerializeToString(), extract_text_and_num(value, False)[0], at, created
