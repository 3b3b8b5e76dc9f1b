"""Works side by side in one process: each has its turn in every round, so that no slow moment meets one alone."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from statistics import median
from typing import TypeVar

Given = TypeVar("Given")


@dataclass(frozen=True)
class Cost:
    """Microseconds a row: by the clock, and of the processor, all threads of this process together."""

    clock: float
    processor: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.clock + other.clock, self.processor + other.processor)


def timed(work: Callable[[Given], object], inputs: Iterable[Given], rows: int) -> Cost:
    """The cost of work on all inputs, which have so many rows together."""
    clock, processor = time.perf_counter(), time.process_time()
    deque(map(work, inputs), maxlen=0)
    spent = time.perf_counter() - clock, time.process_time() - processor
    return Cost(1e6 * spent[0] / rows, 1e6 * spent[1] / rows)


def median_of(costs: Sequence[Cost]) -> Cost:
    """The medians of both, each for itself."""
    return Cost(median(one.clock for one in costs), median(one.processor for one in costs))


def side_by_side(
    works: Mapping[str, Callable[[Given], object]], inputs: Sequence[Given], rows: int, calls: int, rounds: int
) -> dict[str, Cost]:
    """The median cost of each work over the rounds, after one that does not count.

    Args:
        inputs: of single calls; a turn takes them from the first one on, and after the last again.
        rows: of each input.
        calls: of each turn.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in works}
    for _ in range(1 + rounds):
        for name, work in works.items():
            costs[name].append(timed(work, islice(cycle(inputs), calls), calls * rows))
    return {name: median_of(of[1:]) for name, of in costs.items()}
