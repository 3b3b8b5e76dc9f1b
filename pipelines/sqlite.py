"""How every SQLite file of a home is named and opened."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from urllib.parse import quote


def uri_of(path: Path) -> str:
    """The database URI of a file, whatever characters its path has."""
    return f"sqlite:///{quote(str(path))}"


def mlflow_uri_of(path: Path) -> str:
    """The same for MLflow, which makes a folder of what follows `sqlite:///` as if that were a path."""
    plain = uri_of(path)
    return plain if plain.endswith(str(path)) else plain.replace("sqlite", "sqlite+pysqlite", 1)


def tune(connection: sqlite3.Connection, fsync: bool = False) -> None:
    """Let others read while one writes, and let a commit wait for no disk, unless it is to.

    What was committed outlives the process. Without `fsync`, the newest commits may be missing if the machine dies.
    """
    with contextlib.suppress(sqlite3.OperationalError):  # another process is setting it; it stays set in the file
        connection.execute("pragma journal_mode = wal")
    connection.execute(f"pragma synchronous = {'full' if fsync else 'normal'}")
