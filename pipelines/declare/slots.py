"""The instants at which trailing features are known: a grid, or exactly the instants at which something changes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from pipelines.instants import MICROSECOND, micros, midnight
from pipelines.periods import A_DAY
from pipelines.windows import Window

Whole = NDArray[np.int64]


@dataclass(frozen=True)
class Slots:
    """Slots that end at increasing instants; an event counts from the first slot that contains or follows it.

    Attributes:
        known_at: (S,) the ends of the slots, in microseconds since 1970. The first stands for all time before: what
            lies in it is in no window of a row, and no change either.
        before: the number of slots before the window.
        strict: whether an event at the very end of a slot lies in the next one.
        step: between the ends, in microseconds; None where they have none, or are local days.
    """

    known_at: Whole
    before: int
    strict: bool = False
    step: int | None = None

    @classmethod
    def of_days(cls, window: Window, longest: timedelta) -> Slots:
        """Slots that end as each local day of the window begins, and events count that lie before."""
        return cls._within(midnights(window, -(-longest // A_DAY) + 1), window, strict=True)

    @classmethod
    def of_steps(cls, window: Window, step: timedelta, longest: timedelta) -> Slots:
        """Slots that end at every multiple of a step since 1970, so that no window moves them."""
        length, (start, end) = step // MICROSECOND, (micros(window.start_at), micros(window.end_at))
        first = -(-start // length) - -(-longest // step) - 1
        known = np.arange(first * length, end, length, dtype=np.int64)
        return cls._within(known, window, step=length)

    @classmethod
    def of_instants(cls, window: Window, instants: Whole, longest: timedelta) -> Slots:
        """Slots that end at these instants."""
        begin = micros(window.start_at) - longest // MICROSECOND - 1
        known = ascending(instants)
        known = np.concatenate([[begin], known[known > begin]])
        return cls._within(known, window)

    @classmethod
    def _within(cls, known: Whole, window: Window, strict: bool = False, step: int | None = None) -> Slots:
        start, end = np.searchsorted(known, (micros(window.start_at), micros(window.end_at)))
        return cls(known[:end], int(start), strict, step)

    def __len__(self) -> int:
        return len(self.known_at)

    def of(self, instants: Whole) -> Whole:
        """The slot of each instant: the first for all before it, S for all after the last."""
        if self.step and len(self):
            place: Whole = np.clip(-(-(instants - self.known_at[0]) // self.step), 0, len(self))
            return place
        return np.searchsorted(self.known_at, instants, side="right" if self.strict else "left").astype(np.int64)

    def back(self, span: timedelta) -> Whole:
        """(S,) for a window of this length that ends with each slot, the last slot before the window; at least 0.

        Of a grid of days it is so many days before, however long they are.
        """
        if self.strict or self.step:
            steps = span // A_DAY if self.strict else span // MICROSECOND // (self.step or 1)
            return np.maximum(np.arange(len(self)) - steps, 0)
        begins = self.known_at - span // MICROSECOND
        return np.maximum(np.searchsorted(self.known_at, begins, side="right") - 1, 0)


def ascending(values: Whole) -> Whole:
    """The distinct values in order. (`np.unique` hashes, which is several times slower on millions.)"""
    ordered = np.sort(values)
    is_first = np.ones(len(ordered), dtype=bool)
    is_first[1:] = ordered[1:] != ordered[:-1]
    return ordered[is_first]


def midnights(window: Window, before: int) -> Whole:
    """The instants at which the local days of a window, and `before` days before it, begin."""
    first, after = window.local_days
    days = (first + timedelta(n) for n in range(-before, (after - first).days))
    return np.array([micros(midnight(day, window.timezone)) for day in days], dtype=np.int64)
