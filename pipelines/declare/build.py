"""The rows of a declared view in a window, from raw tables of the window and of the days that it looks back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.declare.entities import Entities
from pipelines.declare.events import Events, Measure, Rows
from pipelines.declare.over import Active, Level, Over, Trailing
from pipelines.declare.rows import NAT, Reader, connect
from pipelines.declare.slots import Slots, Whole, ascending, midnights
from pipelines.declare.streams import Ranges, Stream
from pipelines.instants import MICROSECOND, micros, sql_micros
from pipelines.instants.arrow import INSTANT
from pipelines.periods import A_DAY
from pipelines.usecase import KNOWN_AT, Tables
from pipelines.windows import Window


def build_trailing(view: Trailing, tables: Tables, window: Window) -> pa.Table:
    """The rows of a view of trailing measures, by KNOWN_AT and then by keys: keys, KNOWN_AT, features.

    Raises:
        InvalidInput: if an expression is not one over the rows' columns, or not a number.
        CorruptData: if an event is known later than declared, or values are too large for exact sums.
    """
    rows = [part.rows if isinstance(part, Level) else part.events.rows for part in view.parts]
    rows += [view.rows.events.rows] if isinstance(view.rows, Active) else []
    with connect(tables, window.timezone, rows) as connection:
        return _Building(view, Reader(connection, window, view.keys), window).table()


class _Building:
    def __init__(self, view: Trailing, reader: Reader, window: Window) -> None:
        self.view, self.reader, self.window = view, reader, window
        self._values: dict[tuple[Rows, Measure], tuple[str, int]] = {}
        self._known: dict[Events, Whole] = {}
        for part in view.parts:
            if isinstance(part, Level):
                reader.note(part.rows, *_bounds(part))
            else:
                self._note(part)
        if isinstance(view.rows, Active):
            reader.note_events(view.rows.events)
        codes = Entities.of([reader.keys(rows) for rows in reader.rows])
        self.entities, self.codes = codes, dict(zip(reader.rows, codes.codes, strict=True))
        self.slots = self._slots()
        self._streams: dict[tuple[Events, str | None], Stream] = {}
        self._ranges: dict[Any, Ranges] = {}

    def _note(self, part: Over) -> None:
        rows = part.events.rows
        self.reader.note_events(part.events)
        for measure in part.measures.values():
            if measure.of is not None:
                self._values[rows, measure] = sql, _ = self.reader.value(rows, measure)
                self.reader.note(rows, sql)

    def known(self, events: Events) -> Whole:
        if events not in self._known:
            self._known[events] = self.reader.known(events)
        return self._known[events]

    def _slots(self) -> Slots:
        view, window = self.view, self.window
        overs = [part for part in view.parts if isinstance(part, Over)]
        longest = max([timedelta(0), *(part.longest for part in overs)])
        if view.every == A_DAY:
            return Slots.of_days(window, longest)
        if view.every is not None:
            return Slots.of_steps(window, view.every, longest)
        changes = [np.empty(0, dtype=np.int64)]
        for part in overs:
            instants = self.known(part.events)
            instants = instants[instants != NAT]
            changes += [instants, *(instants + span // MICROSECOND for span in _spans(part))]
        for level in (part for part in view.parts if isinstance(part, Level)):
            changes += [ends[ends != NAT] for ends in self._level(level)]
        return Slots.of_instants(window, np.concatenate(changes), longest)

    def _level(self, level: Level) -> tuple[Whole, Whole]:
        """(N,) instants at which each row begins and ends to count; both NAT where it never counts."""
        since, until = (self.reader.instants(level.rows, sql) for sql in _bounds(level))
        begins = self.reader.begins(level.rows)
        if begins is not None:
            since, last = np.where(since == NAT, NAT, np.maximum(since, begins)), begins + level.longest // MICROSECOND
            until = np.where(until == NAT, last, np.minimum(until, last))
        counts = (since != NAT) & ((until == NAT) | (since < until))
        return np.where(counts, since, NAT), np.where(counts, until, NAT)

    def stream(self, events: Events, column: str | None = None) -> Stream:
        """The events, without those that lack a column's value."""
        if (events, column) not in self._streams:
            instants = self.known(events)
            if column is not None:
                instants = np.where(np.asarray(self.reader.get(events.rows, column).is_valid()), instants, NAT)
            codes, happened = self.codes[events.rows], self.reader.happened(events)
            self._streams[events, column] = Stream(codes, instants, self.slots, len(self.entities), happened)
        return self._streams[events, column]

    def table(self) -> pa.Table:
        rows = self.view.rows
        if isinstance(rows, Active):
            return self._table(self._active(rows))
        cells = self._by_windows()  # ascending, by entity: so the events of one are looked up together
        entity, slot = np.divmod(cells, max(len(self.slots), 1))
        return self._table(cells).take(pa.array(np.lexsort((entity, slot))))

    def _table(self, cells: Whole) -> pa.Table:
        """The rows of cells, in their order."""
        entity, slot = np.divmod(cells, max(len(self.slots), 1))
        keys = self.entities.keys
        columns = {name: keys[name].take(pa.array(entity)) for name in keys.column_names}
        columns[KNOWN_AT] = pa.array(self.slots.known_at[slot]).cast(INSTANT)
        for feature, (values, lacks) in zip(self.view.features, self._features(cells, entity, slot), strict=True):
            made = pa.array(values, mask=lacks)
            columns[feature.name] = made.cast(INSTANT) if feature.type == "instant" else made
        return pa.table(columns)

    def _features(self, cells: Whole, entity: Whole, slot: Whole) -> Iterator[Any]:
        known_at, size = self.slots.known_at[slot], len(self.slots)
        for part in self.view.parts:
            if isinstance(part, Level):
                begun, ended = (stream.so_far(cells, entity) for stream in self._ends(part))
                yield (begun - ended).astype(np.float32), None
                continue
            for _, window, measure in part.cells():
                span = window if isinstance(window, timedelta) else part.within
                assert span is not None
                left_out = entity * size + self.slots.back(span)[slot]
                stream, column = self.stream(part.events), None
                if measure.of is not None:
                    sql, digits = self._values[part.events.rows, measure]
                    column = self.reader.column(part.events.rows, sql, digits)
                    if column.present is not None and not column.present[stream.rows].all():
                        stream = self.stream(part.events, sql)
                    column = column._replace(values=column.values[stream.rows], present=None)
                key = (stream, span, window if isinstance(window, int) else None)
                if key not in self._ranges:
                    self._ranges[key] = Ranges.of(stream, cells, left_out, key[2])
                yield self._ranges[key].measure(measure, column, known_at)

    def _ends(self, level: Level) -> Iterator[Stream]:
        for instants in self._level(level):
            yield Stream(self.codes[level.rows], instants, self.slots, len(self.entities))

    def _active(self, active: Active) -> Whole:
        """The cells of local days with an event of the entity, and of those that follow."""
        instants, begins = self.known(active.events), midnights(self.window, active.days - 1)
        inside = (instants >= begins[0]) & (instants < micros(self.window.end_at))
        day = np.searchsorted(begins, instants[inside], side="right") - 1
        entities, places = self.codes[active.events.rows][inside], self.slots.of(instants[inside])
        first = np.full((len(self.entities), len(begins)), len(self.slots))  # slots with a day's first event
        np.minimum.at(first, (entities, day), places)
        shown = np.arange(self.slots.before, len(self.slots))
        today = np.searchsorted(begins, self.slots.known_at[self.slots.before :], side="right") - 1
        present = first[:, today] <= shown
        for back in range(1, active.days):
            present |= first[:, today - back] < len(self.slots)
        slot, entity = np.nonzero(present.T)
        return entity * len(self.slots) + self.slots.before + slot

    def _by_windows(self) -> Whole:
        """The cells, ascending, at which something changes or, for "window", at which a longest one holds events."""
        cells = [np.empty(0, dtype=np.int64)]
        size = len(self.slots)
        for part in self.view.parts:
            if isinstance(part, Level):
                cells += [stream.cells for stream in self._ends(part)]
                continue
            stream = self.stream(part.events)
            entity, slot = np.divmod(stream.cells, max(size, 1))
            for span in _spans(part) if self.view.rows == "changes" else (part.longest,):
                leaves = np.searchsorted(self.slots.back(span), slot)  # the first slot whose window leaves it out
                if self.view.rows == "window":
                    cells.append(_covered(stream.cells, entity * size + leaves))
                else:
                    cells += [stream.cells, (entity * size + leaves)[leaves < size]]
        every = ascending(np.concatenate(cells))
        return every[every % max(size, 1) >= self.slots.before]


def _bounds(level: Level) -> tuple[str, str]:
    """SQL of the instants (microseconds) of a row."""
    return sql_micros(f"({level.since})"), sql_micros(f"({level.until})")


def _spans(part: Over) -> set[timedelta]:
    """The lengths of time after which an event leaves a window."""
    spans = {window for window in part.windows if isinstance(window, timedelta)}
    return spans | ({part.within} if part.within is not None and len(spans) < max(len(part.windows), 1) else set())


def _covered(begins: Whole, ends: Whole) -> Whole:
    """The cells that intervals, in the order of their beginnings, cover; the ends are exclusive."""
    if not len(begins):
        return begins
    furthest = np.maximum.accumulate(ends)
    first = np.concatenate([[True], begins[1:] > furthest[:-1]])
    low, high = begins[first], furthest[np.append(np.flatnonzero(first)[1:] - 1, len(begins) - 1)]
    lengths = high - low
    covered: Whole = np.arange(lengths.sum()) + np.repeat(low - np.cumsum(lengths) + lengths, lengths)
    return covered
