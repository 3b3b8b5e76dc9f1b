"""Restoring a version into a folder, bit for bit."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pipelines.errors import CorruptData, InvalidInput
from pipelines.ingestion.versions import version_of


def restore(version: str, tree: Mapping[str, str], where: Mapping[str, Path], to: Path) -> None:
    """Copy the files of a version to the folder `to`, atomically.

    Args:
        tree: relative path -> hash of every file.
        where: hash -> path of the object.
        to: a folder that is empty or does not exist.

    Raises:
        InvalidInput: if `to` is not empty, or another process restores to it.
        CorruptData: if the copy is not the version, naming the altered object.
    """
    to = to.expanduser().resolve()
    if to.exists() and not (to.is_dir() and not any(to.iterdir())):
        raise InvalidInput(f"{to} is not empty; name a folder that is empty or not there")
    to.parent.mkdir(parents=True, exist_ok=True)
    with _beside(to) as beside:
        for path, value in tree.items():
            target = beside / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(where[value], target)
        if version_of(beside)[0] != version:
            altered = [where[value] for value in tree.values() if _md5(where[value]) != value]
            raise CorruptData(f"{altered[0] if altered else version} was altered; delete it: it is pulled again")
        os.rename(beside, to)


@contextmanager
def _beside(to: Path) -> Iterator[Path]:
    """An empty, locked folder beside `to`; what a killed process left in it is removed first."""
    beside = to.with_name(f".{to.name}.partial")
    beside.mkdir(exist_ok=True)
    descriptor = os.open(beside, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidInput(f"another process restores to {to}; wait for it, or name another folder") from None
        try:
            for child in beside.iterdir():
                shutil.rmtree(child) if child.is_dir() else child.unlink()
            yield beside
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    finally:
        os.close(descriptor)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
