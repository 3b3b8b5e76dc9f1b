"""The changes of an online store in SQLite, in a table beside the features, for readers that cache rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

TABLE = "flightdeck_changes"
KEPT = 100_000  # changes; who has seen none of these for so long reads everything anew


def note(connection: sqlite3.Connection, table: str, keys: Iterable[bytes] | None) -> None:
    """Note, in the transaction that writes them, the entities of a view's table; None: perhaps all."""
    connection.execute(
        f"create table if not exists {TABLE} (number integer primary key autoincrement, table_name text, entity blob)"
    )
    changed = [None] if keys is None else dict.fromkeys(keys)
    rows = ((table, key) for key in changed)
    connection.executemany(f"insert into {TABLE} (table_name, entity) values (?, ?)", rows)
    connection.execute(f"delete from {TABLE} where number <= (select max(number) from {TABLE}) - {KEPT}")


def since(connection: sqlite3.Connection, number: int) -> tuple[int, list[tuple[str, bytes | None]] | None]:
    """The number of the newest change, and the table and entity of each after a number; None if some are forgotten."""
    if not connection.execute("select 1 from sqlite_master where name = ?", (TABLE,)).fetchone():
        return 0, []
    rows = connection.execute(
        f"select number, table_name, entity from {TABLE} where number > ? order by number", (number,)
    ).fetchall()
    if not rows:
        (newest,) = connection.execute(f"select coalesce(max(number), 0) from {TABLE}").fetchone()
        return newest, []
    complete = rows[0][0] == number + 1
    return rows[-1][0], [row[1:] for row in rows] if complete else None
