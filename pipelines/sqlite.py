"""How every SQLite file of a home is opened."""

from __future__ import annotations

import contextlib
import sqlite3


def tune(connection: sqlite3.Connection) -> None:
    """Let others read while one writes, and let a commit wait for no disk.

    What was committed outlives the process; if the machine dies, the newest commits may be missing.
    """
    with contextlib.suppress(sqlite3.OperationalError):  # another process is setting it; it stays set in the file
        connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = normal")
