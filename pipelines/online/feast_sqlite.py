"""Feast's SQLite online store with instants in UTC. Feast finds it by its path in `online_store.type`.

Feast's own hands instants of UTC to an adapter that takes them for local time, in whole seconds: processes in two time
zones do not understand each other, and an hour that clocks skip or repeat is read as another. Here an instant is a
whole number of microseconds since 1970 in UTC. Its column's declared type says so, table by table, and a table of the
old convention is refused: nothing tells in which zone it was written.
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
from pipelines.quoting import quoted

CONVENTION = "utc_microseconds"  # declared type of the columns with instants
INSERT = """insert into {} (entity_key, feature_name, value, value_text, event_ts, created_ts) values (?, ?, ?, ?, ?, ?)
    on conflict (entity_key, feature_name) do update set value = excluded.value, value_text = excluded.value_text,
    event_ts = excluded.event_ts, created_ts = excluded.created_ts"""
Row = tuple[Any, dict[str, Any], datetime, datetime | None]  # entity key and values as protobuf, known at, created at


sqlite3.register_converter(CONVENTION, lambda value: from_micros(int(value)))  # by it Feast's own queries read instants


class UtcSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):
    """Settings in feature_store.yaml: where the file lies. There is no search by text."""

    type: Literal["pipelines.online.feast_sqlite.UtcSqliteOnlineStore"] = (
        "pipelines.online.feast_sqlite.UtcSqliteOnlineStore"
    )
    text_search_enabled: Literal[False] = False
    enable_openai_compatible_store: Literal[False] = False


class UtcSqliteOnlineStore(SqliteOnlineStore):
    """A table a view and a row a feature, as Feast's, read and written by whatever goes through Feast."""

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
                if holds_old_rows(connection, name):  # until a materialization replaces them; reads refuse them
                    continue
                create(connection, name)
            for view in tables_to_delete:
                connection.execute(f"drop table if exists {quoted(_name(config, view))}")

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
            connection.executemany(INSERT.format(quoted(name)), _cells(data, config.entity_key_serialization_version))
        if progress:
            progress(len(data))

    def online_read(
        self, config: RepoConfig, table: Any, entity_keys: list[Any], requested_features: list[str] | None = None
    ) -> list[tuple[datetime | None, dict[str, Any] | None]]:
        self.require_utc(config, _name(config, table))
        found: list[tuple[datetime | None, dict[str, Any] | None]] = super().online_read(
            config, table, entity_keys, requested_features
        )
        return found

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
    """Whether a table is there and of our convention."""
    return _declared(connection, table) == CONVENTION


def holds_old_rows(connection: sqlite3.Connection, table: str) -> bool:
    """Whether a table has rows of another convention."""
    declared = _declared(connection, table)
    if declared in {None, CONVENTION}:
        return False
    return connection.execute(f"select 1 from {quoted(table)} limit 1").fetchone() is not None


def create(connection: sqlite3.Connection, table: str) -> None:
    """Make a table of our convention; one of another convention goes, with all that it holds."""
    if _declared(connection, table) not in {None, CONVENTION}:
        connection.execute(f"drop table {quoted(table)}")
    connection.execute(
        f"""create table if not exists {quoted(table)} (entity_key blob, feature_name text, value blob, value_text text,
        event_ts {CONVENTION}, created_ts {CONVENTION}, primary key (entity_key, feature_name))"""
    )


def _declared(connection: sqlite3.Connection, table: str) -> str | None:
    found = connection.execute("select type from pragma_table_info(?) where name = 'event_ts'", (table,)).fetchone()
    return found and str(found[0])


def _cells(data: Sequence[Row], version: int) -> Iterator[tuple[Any, ...]]:
    for key, values, known, created in data:
        encoded, at = serialize_entity_key(key, version), micros(known)
        written = None if created is None or created != created else micros(created)  # NaT is no time
        for name, value in values.items():
            yield encoded, name, value.SerializeToString(), extract_text_and_num(value, False)[0], at, written
