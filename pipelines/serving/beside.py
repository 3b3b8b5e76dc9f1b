"""Work beside an answer, which waits for it no longer than it can."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class Beside:
    """Does one piece of work at a time, in a thread that ends with the process."""

    def __init__(self, name: str) -> None:
        self._queue: SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = SimpleQueue()
        self._last: Future[Any] | None = None
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def begin(self, work: Callable[[], T]) -> Future[T] | None:
        """Begin with the work; None, without beginning, while an earlier one is not done. From one thread at a time."""
        if self._last is not None and not self._last.done():
            return None
        future: Future[T] = Future()
        self._last = future
        self._queue.put((work, future))
        return future

    def _work(self) -> None:
        while True:
            work, future = self._queue.get()
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)
