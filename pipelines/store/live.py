"""Who is at work on a store: any number of steps at once, or one that removes things, alone.

Locks of the kernel on a file in the store (`flock`) end with the process that holds them, however it ends. There is
none on an object store, from which nothing is removed, nor where the first step has still to make the store's folder.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.errors import InvalidInput
from pipelines.store.files import Store


@contextmanager
def at_work(store: Store) -> Iterator[None]:
    """Hold a share of the store; waits while someone works alone."""
    with _held(store, fcntl.LOCK_SH):
        yield


@contextmanager
def alone(store: Store) -> Iterator[None]:
    """Hold the whole store; who comes meanwhile waits.

    Raises:
        InvalidInput: if someone is at work.
    """
    with _held(store, fcntl.LOCK_EX | fcntl.LOCK_NB):
        yield


@contextmanager
def _held(store: Store, kind: int) -> Iterator[None]:
    if not (store.local and os.path.isdir(store.root)):
        yield
        return
    descriptor = os.open(f"{store.root.rstrip('/')}/.steps.lock", os.O_RDONLY | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, kind)
        except BlockingIOError:
            raise InvalidInput(f"a step is running on {store.root}; try again when it has ended") from None
        yield
    finally:
        os.close(descriptor)
