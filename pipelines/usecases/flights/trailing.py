"""Sums over trailing windows by running sums, without joining events to windows.

Time is divided into slots, and an event counts from the slot in which it becomes known. The sum over a trailing window
is the difference of two running sums; a level, such as the number of waiting flights, is one running sum. All summands
are whole numbers, so values do not depend on the order of summation, and a day is the same in any window.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.instants import SECOND, micros, midnight
from pipelines.instants.arrow import INSTANT
from pipelines.usecase import KNOWN_AT
from pipelines.windows import Window

Whole = NDArray[np.int64]
Mask = NDArray[np.bool_]
Values = Whole | tuple[Whole, Whole]  # counts, or the numerator and denominator of a ratio


@dataclass(frozen=True)
class Slots:
    """The slots of a window, preceded by as many as the longest trailing window has.

    Attributes:
        known_at: (slots,) the ends of the slots, in microseconds since 1970, increasing.
        before: the number of slots before the window.
    """

    known_at: Whole
    before: int

    @classmethod
    def of_days(cls, window: Window, longest: int) -> Slots:
        """One slot for each local day, which ends when that day begins; `longest` in days."""
        days = [window.start + timedelta(n) for n in range(-longest, (window.end - window.start).days)]
        return cls(np.array([_instant(day, window.timezone) for day in days], dtype=np.int64), longest)

    @classmethod
    def of_minutes(cls, window: Window, minutes: int, longest: int) -> Slots:
        """One slot every `minutes`, of which a local day holds a whole number; `longest` in slots."""
        step, start, end = minutes * 60 * SECOND, *(_instant(d, window.timezone) for d in (window.start, window.end))
        return cls(np.arange(start - longest * step, end, step, dtype=np.int64), longest)

    def __len__(self) -> int:
        return len(self.known_at)

    def of(self, instants: pa.ChunkedArray) -> Whole:
        """The first slot that ends at or after each instant (no nulls).

        It is the first slot, which lies before the window, for instants before all slots, and the number of slots for
        instants after them.
        """
        return np.searchsorted(self.known_at, _microseconds(instants), side="left").astype(np.int64)

    def after(self, instants: pa.ChunkedArray) -> Whole:
        """The first slot that ends after each instant, otherwise as `of`."""
        return np.searchsorted(self.known_at, _microseconds(instants), side="right").astype(np.int64)


def _instant(day: date, timezone: str) -> int:
    return micros(midnight(day, timezone))


def _microseconds(instants: pa.ChunkedArray) -> Whole:
    return np.asarray(instants.cast(INSTANT).cast(pa.int64()), dtype=np.int64)


@dataclass(frozen=True)
class Entities:
    """The distinct keys of a table, none of them null.

    Attributes:
        keys: one row for each entity, in order.
        codes: (rows of the table,) the entity of each row.
    """

    keys: pa.Table
    codes: Whole

    @classmethod
    def of(cls, table: pa.Table, names: Sequence[str]) -> Entities:
        rows = table.select(list(names)).to_pandas()
        codes = rows.groupby(list(names), sort=True).ngroup().to_numpy(np.int64)
        keys = rows.drop_duplicates().sort_values(list(names))
        return cls(pa.Table.from_pandas(keys, schema=table.select(list(names)).schema, preserve_index=False), codes)


def running_sums(codes: Whole, slots: Whole, values: Whole | None, shape: tuple[int, int]) -> Whole:
    """(entities, slots) sums of the events up to and including each slot; without values, their number."""
    inside = slots < shape[1]
    places, weights = codes[inside] * shape[1] + slots[inside], None if values is None else values[inside]
    sums = np.bincount(places, weights, minlength=shape[0] * shape[1])  # in float64: exact up to 2^53
    return np.cumsum(sums.reshape(shape).astype(np.int64), axis=1)


def trailing(running: Whole, span: int, before: int) -> Whole:
    """(entities, slots of the window) sums over the last `span` slots, of which there are at most `before`."""
    return running[:, before:] - running[:, before - span : running.shape[1] - span]


def ratio(total: Whole, count: Whole) -> pa.Array:
    """total / count as float32, null where count is 0."""
    return pa.array((total / np.maximum(count, 1)).astype(np.float32), mask=count == 0)


def feature_rows(entities: Entities, slots: Slots, present: Mask, features: Iterable[tuple[str, Values]]) -> pa.Table:
    """A row for every slot of the window and entity that is present in it, in that order.

    Args:
        present: (entities, slots of the window).
        features: names and values, each of (entities, slots of the window); consumed one by one, to bound memory.
    """
    slot, entity = np.nonzero(present.T)
    columns: dict[str, pa.Array | pa.ChunkedArray] = {
        **{name: entities.keys[name].take(pa.array(entity)) for name in entities.keys.column_names},
        KNOWN_AT: pa.array(slots.known_at[slots.before :][slot]).cast(INSTANT),
    }
    for name, values in features:
        if isinstance(values, tuple):
            columns[name] = ratio(values[0][entity, slot], values[1][entity, slot])
        else:
            columns[name] = pa.array(values[entity, slot].astype(np.float32))
    return pa.table(columns)
