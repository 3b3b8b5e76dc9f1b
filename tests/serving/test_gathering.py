"""Calls that arrive during a run are answered by the next one, each with its own result."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.serving.gathering import Gatherer
from pipelines.serving.schemas import Refusal

MOST = 6


class Doubling:
    """Work that doubles numbers and fails for odd ones; it records its runs, and can be blocked."""

    def __init__(self) -> None:
        self.runs: list[list[int]] = []
        self.begun, self.free = threading.Semaphore(0), threading.Event()
        self.free.set()

    def __call__(self, numbers: Sequence[int]) -> list[int | Exception]:
        self.runs.append([*numbers])
        self.begun.release()
        assert self.free.wait(10)
        return [ValueError(number) if number % 2 else 2 * number for number in numbers]


def gatherer(work: Doubling, limit: int = 1000, patience: float = 60) -> Gatherer[int, int]:
    return Gatherer(work, lambda number: max(1, number % MOST), MOST, limit, patience)


@given(st.lists(st.lists(st.integers(0, 30), max_size=8), max_size=5))
def test_each_call_gets_its_own_result_once_and_runs_stay_within_the_limit(waves: list[list[int]]) -> None:
    work = Doubling()

    async def main() -> list[list[int | BaseException]]:
        calls = gatherer(work)
        return [await asyncio.gather(*map(calls.submit, wave), return_exceptions=True) for wave in waves]

    for wave, results in zip(waves, asyncio.run(main()), strict=True):
        assert [str(one) if isinstance(one, ValueError) else one for one in results] == [
            str(number) if number % 2 else 2 * number for number in wave
        ]
    assert [number for run in work.runs for number in run] == [number for wave in waves for number in wave]
    assert all(len(run) == 1 or sum(max(1, number % MOST) for number in run) <= MOST for run in work.runs)


def test_calls_during_a_run_form_the_next_run_and_a_single_call_does_not_wait() -> None:
    work = Doubling()

    async def main() -> None:
        calls = gatherer(work)
        assert await calls.submit(2) == 4
        await asyncio.to_thread(work.begun.acquire)
        work.free.clear()
        first = asyncio.create_task(calls.submit(4))
        await asyncio.to_thread(work.begun.acquire)
        others = [asyncio.create_task(calls.submit(0)) for _ in range(3)]
        await asyncio.sleep(0)
        work.free.set()
        assert await asyncio.gather(first, *others) == [8, 0, 0, 0]

    asyncio.run(main())
    assert work.runs == [[2], [4], [0, 0, 0]]


def test_a_call_of_a_disconnected_client_disturbs_no_other() -> None:
    work = Doubling()
    work.free.clear()

    async def main() -> None:
        calls = gatherer(work)
        tasks = [asyncio.create_task(calls.submit(number)) for number in (2, 4, 6)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.sleep(0)
        work.free.set()
        assert await tasks[0] == 4 and await tasks[2] == 12

    asyncio.run(main())


def test_an_error_fails_the_calls_of_its_run_and_no_later_one() -> None:
    def work(numbers: Sequence[int]) -> list[int | Exception]:
        if 1 in numbers:
            raise RuntimeError("broken")
        return list(numbers)

    async def main() -> None:
        calls: Gatherer[int, int] = Gatherer(work, lambda _: 1, MOST, 1000, 60)
        with pytest.raises(RuntimeError):
            await calls.submit(1)
        assert await calls.submit(2) == 2

    asyncio.run(main())


class Alien(BaseException):
    """An error that is not an Exception, such as a panic in a library's Rust code."""


@pytest.mark.parametrize("error", [StopIteration("next"), Alien("panic"), ValueError("given")], ids=str)
@pytest.mark.parametrize("in_loop", [True, False])
def test_after_any_error_the_calls_of_the_run_and_later_calls_are_answered(error: BaseException, in_loop: bool) -> None:
    def work(numbers: Sequence[int]) -> list[int | Exception]:
        if 1 in numbers:
            raise error
        return list(numbers)

    async def main() -> None:
        calls: Gatherer[int, int] = Gatherer(work, lambda _: 1, 1, 1000, 60, work if in_loop else lambda _: None)
        first, second = await asyncio.wait_for(
            asyncio.gather(calls.submit(1), calls.submit(2), return_exceptions=True), 10
        )
        assert isinstance(first, ValueError if isinstance(error, ValueError) else RuntimeError) and second == 2

    asyncio.run(main())


def test_the_event_loop_runs_between_two_runs() -> None:
    turns: list[str] = []

    def work(numbers: Sequence[int]) -> list[int | Exception]:
        turns.append("run")
        return list(numbers)

    async def main() -> None:
        calls: Gatherer[int, int] = Gatherer(work, lambda _: 5, 5, 1000, 60, work)
        waiting = [asyncio.create_task(calls.submit(number)) for number in range(4)]
        while not all(task.done() for task in waiting):
            await asyncio.sleep(0)
            turns.append("loop")

    asyncio.run(main())
    assert "run run" not in " ".join(turns) and turns.count("run") == 4


def test_calls_beyond_the_limit_and_calls_that_waited_too_long_are_refused_at_once() -> None:
    work = Doubling()
    work.free.clear()

    async def main() -> None:
        calls = gatherer(work, limit=3, patience=0.2)
        first = asyncio.create_task(calls.submit(2))
        await asyncio.to_thread(work.begun.acquire)
        waiting = [asyncio.create_task(calls.submit(number)) for number in (0, 2)]  # of 1 and 2
        await asyncio.sleep(0)
        with pytest.raises(Refusal, match="more than 3 rows wait") as busy:
            await calls.submit(0)
        for late in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(late, Refusal) and late.status == 503 and "waited for more than 0.2 s" in str(late)
        assert not first.done()
        work.free.set()
        assert await first == 4 and busy.value.status == 429
        assert await calls.submit(4) == 8, "refused calls take no room in the queue"

    asyncio.run(main())
    assert work.runs == [[2], [4]]


class Told:
    """A caller other than a future, which may raise when it gets its result."""

    def __init__(self, error: Exception | None = None, gone: bool = False) -> None:
        self.error, self.gone, self.heard = error, gone, list[object]()

    def done(self) -> bool:
        return self.gone

    def set_result(self, result: int) -> None:
        self.heard.append(result)
        if self.error:
            raise self.error

    def set_exception(self, exception: Exception) -> None:
        self.heard.append(exception)


def test_a_broken_or_cancelled_caller_keeps_no_other_of_its_run_waiting() -> None:
    runs: list[Sequence[int]] = []

    def work(numbers: Sequence[int]) -> list[int | Exception]:
        runs.append(numbers)
        return list(numbers)

    async def main() -> None:
        calls: Gatherer[int, int] = Gatherer(work, lambda _: 1, 10, 1000, 60)
        broken, gone = Told(OSError("no space")), Told()
        calls.enter(1, broken)
        calls.enter(2, gone)
        other = asyncio.create_task(calls.submit(3))
        await asyncio.sleep(0)
        assert await asyncio.wait_for(other, 10) == 3 and broken.heard == [1] and gone.heard == [2]
        late = Told()
        calls.enter(4, late)
        late.gone = True
        assert await asyncio.wait_for(calls.submit(5), 10) == 5 and late.heard == []

    asyncio.run(main())
    assert list(runs[0]) == [1, 2, 3]
