"""Copies of homes whose databases may be open."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

OF_OPEN_DATABASES = ("*.db-wal", "*.db-shm")  # come and go with connections, whoever closes them


def copy_home(home: Path, place: Path, *leave_out: str) -> Path:
    """A copy of a home at a place that is not there yet; databases by SQLite's own backup, all else byte by byte."""
    ignored = shutil.ignore_patterns(*OF_OPEN_DATABASES, *leave_out)
    return Path(shutil.copytree(home, place, ignore=ignored, copy_function=_copy))


def put_back(place: Path, kept: Path) -> Path:
    """A folder as its copy `kept` is, in the same place: the paths that a home holds are absolute."""
    shutil.rmtree(place, ignore_errors=True)
    return copy_home(kept, place)


def _copy(source: str, target: str) -> str:
    if not source.endswith(".db"):
        return shutil.copy2(source, target)
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
        one.backup(other)
    return target
