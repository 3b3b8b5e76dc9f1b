"""Copies of homes, whose databases may be open."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

OF_OPEN_DATABASES = ("*.db-wal", "*.db-shm")  # files that appear and disappear with connections


def copy_home(home: Path, place: Path, *leave_out: str) -> Path:
    """Copy a home to a new path: databases by SQLite's backup, other files byte by byte."""
    ignored = shutil.ignore_patterns(*OF_OPEN_DATABASES, *leave_out)
    return Path(shutil.copytree(home, place, ignore=ignored, copy_function=_copy))


def put_back(place: Path, kept: Path) -> Path:
    """Restore a folder from its copy `kept`, in place: the paths inside a home are absolute."""
    shutil.rmtree(place, ignore_errors=True)
    return copy_home(kept, place)


def _copy(source: str, target: str) -> str:
    if not source.endswith(".db"):
        return shutil.copy2(source, target)
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
        one.backup(other)
    return target
