"""Locks on a store: shared for any number of steps, or exclusive for one that removes data.

The locks are the kernel's (`flock`), on a file in the store, and end with their process, however it ends. There is none
on an object store, from which nothing is removed, nor before the first step has created the store's folder.
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
    """Hold the shared lock; waits while another process has the exclusive one."""
    with _lock(store, fcntl.LOCK_SH):
        yield


@contextmanager
def alone(store: Store) -> Iterator[None]:
    """Hold the exclusive lock; other processes wait meanwhile.

    Raises:
        InvalidInput: if a step is running.
    """
    with _lock(store, fcntl.LOCK_EX | fcntl.LOCK_NB):
        yield


@contextmanager
def _lock(store: Store, kind: int) -> Iterator[None]:
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
