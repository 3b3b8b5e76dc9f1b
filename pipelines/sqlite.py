"""How every SQLite file of a home is named and opened."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from urllib.parse import quote


def uri_of(path: Path) -> str:
    """The database URI of a file, whatever characters its path has."""
    place = quote(str(path))
    # MLflow makes a folder of what follows `sqlite:///`, without reading it as a URI
    return f"{'sqlite' if place == str(path) else 'sqlite+pysqlite'}:///{place}"


def tune(connection: sqlite3.Connection) -> None:
    """Let others read while one writes, and let a commit wait for no disk.

    What was committed outlives the process; if the machine dies, the newest commits may be missing.
    """
    with contextlib.suppress(sqlite3.OperationalError):  # another process is setting it; it stays set in the file
        connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = normal")
