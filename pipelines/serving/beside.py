"""Work in the background of an answer, which waits for it only for a limited time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


QUICK = 0.005  # seconds
A_ROW = 0.00005  # seconds for each row, as much as it is waited for where it is not quick
PAUSES = 2  # pieces of work in a row that may take long before it is taken to be slow for good


class Beside:
    """Does one piece of work at a time, in a thread that ends with the process. For one caller at a time."""

    def __init__(self, name: str) -> None:
        self._queue: SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = SimpleQueue()
        self._last: Future[Any] | None = None
        self._began = self._ended = 0.0
        self._long = 0  # pieces of work in a row, up to the last one, that took long
        threading.Thread(target=self._work, name=name, daemon=True).start()

    @property
    def is_slow(self) -> bool:
        """Whether the last piece of work took long, or is still running."""
        return self._last is not None and (not self._last.done() or self._ended - self._began > QUICK)

    def patience(self, rows: int, most: float) -> float:
        """Seconds to wait for work on so many rows: `most`, for a pause, unless it has been slow for long."""
        return min(most, QUICK + rows * A_ROW) if self._long > PAUSES else most

    def begin(self, work: Callable[[], T], limit: float) -> Future[T] | None:
        """Start the work; None, without starting, if an earlier one does not end within its own limit.

        Args:
            limit: seconds since the earlier one began; 0: not to wait for it at all.
        """
        if self._last is not None and not self._last.done():
            wait([self._last], max(0.0, limit - (time.monotonic() - self._began)))
            if not self._last.done():
                return None
        future: Future[T] = Future()
        self._last, self._began = future, time.monotonic()
        self._queue.put((work, future))
        return future

    def _work(self) -> None:
        while True:
            work, future = self._queue.get()
            try:
                result = work()
            except BaseException as error:
                self._end()
                future.set_exception(error)
            else:
                self._end()
                future.set_result(result)

    def _end(self) -> None:
        self._ended = time.monotonic()
        self._long = self._long + 1 if self._ended - self._began > QUICK else 0
