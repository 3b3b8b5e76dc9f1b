"""Calls that come while others are being answered are gathered and answered together by the next run of the work."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

from pipelines.failure import trace
from pipelines.serving.schemas import Later, Refusal

log = logging.getLogger(__name__)
Given = TypeVar("Given")
Result = TypeVar("Result")
Told_contra = TypeVar("Told_contra", contravariant=True)


class Caller(Protocol[Told_contra]):
    """The receiver of a call's result, once, in the event loop, such as a future; it may have been cancelled before."""

    def done(self) -> bool: ...

    def set_result(self, result: Told_contra, /) -> None: ...

    def set_exception(self, exception: Exception, /) -> None: ...


class _Waiting(Generic[Given, Result]):
    """A call with its caller. After the deadline, in the event loop's time, it waits no longer."""

    __slots__ = ("caller", "deadline", "given")

    def __init__(self, given: Given, caller: Caller[Result], deadline: float) -> None:
        self.given, self.caller, self.deadline = given, caller, deadline

    def settle(self, result: Result | BaseException) -> None:
        """Give the caller its result; an error of the caller affects no other."""
        if self.caller.done():  # its client has disconnected, or it has waited too long
            return
        try:
            if isinstance(result, Exception) and not isinstance(result, StopIteration):  # which no future takes
                self.caller.set_exception(result)
            elif isinstance(result, BaseException):
                self.caller.set_exception(RuntimeError(f"{type(result).__name__}: {result}"))
            else:
                self.caller.set_result(result)
        except Exception as error:
            log.error("a result could not be told: %s", trace(error))


class Gatherer(Generic[Given, Result]):
    """Runs work on the content of calls, many calls at once.

    A call waits only for the run before: where nothing is running, its own run begins once the event loop has delivered
    the calls that have arrived.

    Args:
        work: gives a result, or the error, for each call's content. It may wait, so it runs in a thread.
        at_once: does the same in the event loop, where that waits for nothing, so that no two threads fight for the
            interpreter's lock. It gives None where it cannot; then the work does it.
        size: of one call, such as its rows.
        most: of one run, in the same unit; a larger call has a run of its own.
        limit: of all that wait, likewise.
        patience: seconds for which a call may wait for its run to begin.

    Attributes:
        later: takes over the calls that the work gives `Later` for, and runs them beside the others.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Given]], Sequence[Result | Exception]],
        size: Callable[[Given], int],
        most: int,
        limit: int,
        patience: float,
        at_once: Callable[[Sequence[Given]], Sequence[Result | Exception] | None] = lambda _: None,
    ) -> None:
        self.later: Gatherer[Given, Result] | None = None
        self._at_once = at_once
        self._work, self._size, self._most, self._limit, self._patience = work, size, most, limit, patience
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="gathered")
        self._waiting: deque[_Waiting[Given, Result]] = deque()
        self._rows = 0  # that wait
        self._running: asyncio.Task[None] | None = None
        self._expiry: asyncio.TimerHandle | None = None

    async def submit(self, given: Given) -> Result:
        """The result for one call.

        Raises:
            Refusal: 429 if too many wait, 503 if its run does not begin in time; nothing was done then.
            Exception: the error that the work gave for it.
        """
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.enter(given, future)
        return await future

    def enter(self, given: Given, caller: Caller[Result]) -> None:
        """As `submit`, for a caller of any kind.

        Raises:
            Refusal: 429 if too many wait.
        """
        if self._waiting and self._rows + self._size(given) > self._limit:
            raise Refusal(429, f"more than {self._limit} rows wait for their answer; send it again later")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience
        self._waiting.append(_Waiting(given, caller, deadline))
        self._rows += self._size(given)
        if self._expiry is None:
            self._expiry = loop.call_at(deadline, self._expire)
        if self._running is None:
            self._running = loop.create_task(self._run())

    def take(self, call: _Waiting[Given, Result]) -> None:
        """Take a call over, or tell its caller why not."""
        try:
            self.enter(call.given, call.caller)
        except Refusal as refusal:
            call.settle(refusal)

    def _expire(self) -> None:
        """Refuse calls that have waited too long, and set the timer for the next one: one timer serves all calls."""
        loop = asyncio.get_running_loop()
        self._expiry = None
        for call in [*self._waiting]:
            if call.deadline > loop.time():
                self._expiry = loop.call_at(call.deadline, self._expire)
                break
            call.settle(Refusal(503, f"it has waited for more than {self._patience:g} s; send it again later"))

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._arrive()
                if calls := self._next():
                    for call, result in zip(calls, await self._results([call.given for call in calls]), strict=True):
                        if isinstance(result, Later) and self.later:
                            self.later.take(call)
                        else:
                            call.settle(result)
        finally:
            self._running = None

    async def _results(self, given: Sequence[Given]) -> Sequence[Result | BaseException]:
        results = _try(self._at_once, given)
        if results is None:
            results = await asyncio.get_running_loop().run_in_executor(self._thread, _try, self._work, given)
        return results or []

    async def _arrive(self) -> None:
        """Let the event loop deliver calls that have arrived: larger runs take less time for each call."""
        before = -1
        while before < len(self._waiting) and (before < 0 or self._rows < self._most):
            before = len(self._waiting)
            await asyncio.sleep(0)

    def _next(self) -> list[_Waiting[Given, Result]]:
        """The calls of the next run, in the order in which they came."""
        calls: list[_Waiting[Given, Result]] = []
        total = 0
        while self._waiting and (not calls or total + self._size(self._waiting[0].given) <= self._most):
            call = self._waiting.popleft()
            self._rows -= self._size(call.given)
            if not call.caller.done():
                calls.append(call)
                total += self._size(call.given)
        return calls

    def close(self) -> None:
        """Wait for the present run."""
        self._thread.shutdown()
        if self.later:
            self.later.close()


def _try(
    work: Callable[[Sequence[Given]], Sequence[Result | Exception] | None], given: Sequence[Given]
) -> Sequence[Result | BaseException] | None:
    try:
        return work(given)
    except BaseException as error:  # also of libraries whose errors are no Exception: else the calls hang for ever
        return [error] * len(given)
