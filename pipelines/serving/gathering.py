"""Calls that come while others are being answered are gathered and answered together by the next run of the work."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Given = TypeVar("Given")
Result = TypeVar("Result")


class Gatherer(Generic[Given, Result]):
    """Runs work on what calls give, in one thread, off the event loop.

    A call waits for no other one but those of the run before: where nothing is running, its own begins at once.

    Args:
        work: gives a result, or the error, for each of those that it is given.
        size: of one call, such as its rows.
        most: of one run, in the same unit; a larger call has a run of its own.
    """

    def __init__(
        self, work: Callable[[Sequence[Given]], Sequence[Result | Exception]], size: Callable[[Given], int], most: int
    ) -> None:
        self._work, self._size, self._most = work, size, most
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="gathered")
        self._waiting: deque[tuple[Given, asyncio.Future[Result]]] = deque()
        self._running: asyncio.Task[None] | None = None

    async def submit(self, given: Given) -> Result:
        """The result for one call; what is raised is what the work gave for it."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((given, future))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                calls = self._next()
                try:
                    results = await loop.run_in_executor(self._thread, self._work, [given for given, _ in calls])
                except Exception as error:
                    results = [error] * len(calls)
                for (_, future), result in zip(calls, results, strict=True):
                    if future.done():  # its client has gone
                        continue
                    if isinstance(result, Exception):
                        future.set_exception(result)
                    else:
                        future.set_result(result)
        finally:
            self._running = None

    def _next(self) -> list[tuple[Given, asyncio.Future[Result]]]:
        """The calls of the next run, in the order in which they came."""
        calls, total = [self._waiting.popleft()], 0
        total = self._size(calls[0][0])
        while self._waiting and total + self._size(self._waiting[0][0]) <= self._most:
            calls.append(self._waiting.popleft())
            total += self._size(calls[-1][0])
        return calls

    def close(self) -> None:
        """Wait for the run that is going on."""
        self._thread.shutdown()
