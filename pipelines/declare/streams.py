"""Events ordered by entity and time, and measures of the ranges of events in trailing windows.

A window of an entity, at any slot, is a range of consecutive events: two positions. Counts and exact sums are
differences at these two positions; other measures are computed from the events of the range only, in
their order. So a value depends on nothing but the events in its window, however the days are cut into pieces.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pipelines.declare.events import Measure
from pipelines.declare.rows import NAT, Column, Values
from pipelines.declare.slots import Slots, Whole
from pipelines.errors import CorruptData
from pipelines.instants import MICROSECOND

Mask = NDArray[np.bool_]
Result = tuple[NDArray[Any], Mask | None]  # (rows,) values, and where they are null
DENSE = 1 << 24  # entities times slots up to which a table tells the number of events before each slot
LARGEST = 1 << 62  # of a sum of absolute values: beyond it whole numbers might overflow
CHUNK = 1 << 22  # events of ranges that are processed together


class Stream:
    """Events by entity and instant.

    Args:
        codes: (N,) their entities.
        instants: (N,) from which they count, in microseconds since 1970; NAT for what is no event.
        entities: how many there are.
        happened: (N,) when they happened, where that is another instant.
    """

    def __init__(
        self, codes: Whole, instants: Whole, slots: Slots, entities: int, happened: Whole | None = None
    ) -> None:
        self._size, self._entities = len(slots), entities
        happens = np.flatnonzero(instants != NAT)
        place = slots.of(instants[happens])
        happens, place = happens[place < self._size], place[place < self._size]
        cells = codes[happens] * self._size + place
        order = np.argsort(cells, kind="stable")
        if (np.diff(instants[happens[order]])[np.diff(cells[order]) == 0] < 0).any():  # within a slot
            order = np.lexsort((instants[happens], cells))
        self.rows = happens[order]  # (n,) of the table that was read
        self.cells = cells[order]  # (n,) entity * S + slot, ascending
        self.happened = (instants if happened is None else happened)[self.rows]

    @cached_property
    def _before(self) -> NDArray[np.int32] | None:
        if self._size * self._entities > DENSE:
            return None
        counts = np.bincount(self.cells + 1, minlength=self._size * self._entities + 1)
        return np.cumsum(counts).astype(np.int32)

    def upto(self, cells: Whole) -> NDArray[np.int64]:
        """The number of events in the cells or, by entity and slot, before them: the position after the last one."""
        if self._before is not None:
            return self._before[cells + 1].astype(np.int64)
        return np.searchsorted(self.cells, cells, side="right")

    def so_far(self, cells: Whole, entity: Whole) -> Whole:
        """How many events of each cell's own entity lie in it or before it."""
        return self.upto(cells) - self.upto(entity * self._size - 1)

    @property
    def entity(self) -> Whole:
        """(n,) of each event."""
        return self.cells // max(self._size, 1)


@dataclass(frozen=True)
class Ranges:
    """Of each row, the events low <= n < high of a stream."""

    stream: Stream
    low: Whole
    high: Whole

    @classmethod
    def of(cls, stream: Stream, cells: Whole, left_out: Whole, most: int | None = None) -> Ranges:
        """The events after the cells `left_out`, up to `cells`; at most the last `most` of them."""
        high, low = stream.upto(cells), stream.upto(left_out)
        return cls(stream, low if most is None else np.maximum(low, high - most), high)

    @cached_property
    def count(self) -> Whole:
        return self.high - self.low

    @cached_property
    def empty(self) -> Mask:
        return np.equal(self.count, 0)

    def measure(self, measure: Measure, column: Column | None, known_at: Whole) -> Result:
        """A measure of each row, as float32 (instants as int64), and where it is null.

        Args:
            column: the values of the stream's rows, in its order; all present.
            known_at: (rows,) instants of the rows.
        """
        match measure.kind:
            case "count":
                return self.count.astype(np.float32), None
            case "last_at":
                return self._at(self.stream.happened, 0)
            case "since_last":
                at, lacks = self._at(self.stream.happened, 0)
                return ((known_at - at) / (measure.unit // MICROSECOND)).astype(np.float32), lacks
        assert column is not None
        scale = 10**column.digits
        match measure.kind:
            case "sum":
                return (self._sum(column.values) / scale).astype(np.float32), None
            case "mean" | "share":
                means = self._sum(column.values) / (np.maximum(self.count, 1) * scale)
                return means.astype(np.float32), self.empty
            case "min" | "max":
                found = self._reduce(np.minimum if measure.kind == "min" else np.maximum, column.values)
                return (found / scale).astype(np.float32), self.empty
            case "std":
                return self._deviation(column.values / scale).astype(np.float32), self.count < 2
            case "distinct":
                return self._distinct(column.values).astype(np.float32), None
            case _:
                values, lacks = self._at(column.values, measure.back)
                return (values / scale).astype(np.float32), lacks

    def _at(self, values: Values, back: int) -> Result:
        """The value of the last event, or of the one `back` events before it."""
        lacks = self.count <= back
        return np.append(values, 0)[np.where(lacks, len(values), self.high - 1 - back)], lacks

    def _sum(self, values: Values) -> Values:
        if values.dtype != np.int64:
            return np.where(self.empty, 0.0, self._reduce(np.add, values))
        if np.abs(values.astype(np.float64)).sum() > LARGEST:
            raise CorruptData(
                f"the values, of which the largest is {np.abs(values).max()}, are too large for exact sums"
            )
        before: Whole = np.concatenate([[0], np.cumsum(values)])
        sums: Whole = before[self.high] - before[self.low]
        return sums

    @cached_property
    def _ordered(self) -> NDArray[np.intp]:
        """The rows whose ranges are not empty, ordered by the beginning of the range."""
        some = np.flatnonzero(~self.empty)
        return some[np.argsort(self.low[some], kind="stable")]

    def _reduce(self, function: np.ufunc, values: Values) -> Values:
        """A ufunc over each range, from its first event to its last; 0 for an empty one."""
        reduced: Any = np.zeros(len(self.low), dtype=values.dtype)
        if len(self._ordered):
            bounds = np.stack([self.low[self._ordered], self.high[self._ordered]], axis=1).ravel()
            reduced[self._ordered] = function.reduceat(np.append(values, 0), bounds)[::2]
        return cast(Values, reduced)

    def _deviation(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        means = self._reduce(np.add, values) / np.maximum(self.count, 1)
        squares = self._each(lambda row, event: (values[event] - means[row]) ** 2)
        return np.sqrt(squares / np.maximum(self.count - 1, 1))

    def _distinct(self, codes: Values) -> NDArray[np.float64]:
        """Distinct values: an event is the first of its value where the previous one precedes the range."""
        order = np.lexsort((codes, self.stream.entity))  # stable: in their order
        entity, code = self.stream.entity[order], codes[order]
        earlier = np.full(len(order), -1)
        same = (entity[1:] == entity[:-1]) & (code[1:] == code[:-1])
        earlier[order[1:][same]] = order[:-1][same]
        return self._each(lambda row, event: earlier[event] < self.low[row])

    def _each(self, figure: Callable[[NDArray[np.intp], NDArray[np.intp]], NDArray[Any]]) -> NDArray[np.float64]:
        """The sum over each range of a figure of its events, in batches of (row, event) pairs that fit memory."""
        sums = np.zeros(len(self.low))
        counts = self.count[self._ordered]
        ends = np.cumsum(counts)
        start = 0
        while start < len(counts):
            until = int(np.searchsorted(ends, (ends[start - 1] if start else 0) + CHUNK, side="right"))
            until = max(until, start + 1)
            rows, of = self._ordered[start:until], counts[start:until]
            row = np.repeat(rows, of)
            first = np.cumsum(of) - of
            event = np.arange(len(row)) - np.repeat(first, of) + self.low[row]
            sums[rows] = np.add.reduceat(figure(row, event).astype(np.float64), first)
            start = until
        return sums
