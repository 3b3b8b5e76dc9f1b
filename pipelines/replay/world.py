"""The events of a window in the order in which they become known: feature rows, requests, outcomes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.context import Context
from pipelines.declare.tables import feature_rows
from pipelines.features.stream import known_micros
from pipelines.instants import EPOCH, MICROSECOND, micros
from pipelines.instants.arrow import NAT
from pipelines.json_text import JsonObject
from pipelines.offline.columns import to_frame
from pipelines.sources import read_window
from pipelines.usecase import EXAMPLE_ID, KNOWN_AT, LABEL, LABEL_KNOWN_AT, PREDICTED_AT
from pipelines.windows import Window


@dataclass(frozen=True)
class Tick:
    """The events of one instant of a replay.

    Attributes:
        at: the instant, to which the clock is set first.
        features: by feature table, rows that became known after the previous tick, up to and including `at`.
        outcomes: (prediction id, label) that became known after the previous tick.
        requests: bodies of the requests from `at` until the next tick, each with its id.
    """

    at: datetime
    features: Mapping[str, pa.Table]
    outcomes: list[tuple[str, float]]
    requests: list[JsonObject]


@dataclass(frozen=True)
class World:
    """A window of the source, read once. No tick contains anything before it was known.

    Attributes:
        features: rows by feature table.
        keys: entity columns by feature table.
        examples: those of the window, and those before it whose outcomes may become known in it.
    """

    window: Window
    features: Mapping[str, pa.Table]
    keys: Mapping[str, tuple[str, ...]]
    examples: pd.DataFrame
    request_columns: tuple[str, ...]

    def ticks(self, every: timedelta, since: datetime | None = None) -> Iterator[Tick]:
        """The ticks of the window from `since` on, and a last one at its end without requests.

        A feature that becomes known between two ticks is in the later one, so that no request sees it too early.
        """
        at, last = self.window.start_at, self.window.end_at - MICROSECOND
        while at <= last:
            if since is None or at >= since:
                yield self._tick(at - every, at, at + every)
            at += every
        yield self._tick(at - every, last, last)

    def _tick(self, before: datetime, at: datetime, after: datetime) -> Tick:
        labels, predicted, known = self._timelines
        outcomes = self.examples.iloc[labels.between(before, at)]
        first = max(at, self.window.start_at)
        requests = self.examples.iloc[predicted.between(first - MICROSECOND, after - MICROSECOND)]
        features = {name: self.features[name].take(of.between(before, at)) for name, of in known.items()}
        columns = [*self.request_columns]
        return Tick(
            at=at,
            features={name: rows for name, rows in features.items() if len(rows)},
            outcomes=list(zip(outcomes[EXAMPLE_ID], outcomes[LABEL], strict=True)),
            requests=[
                {"id": identity, **{name: _jsonable(value) for name, value in zip(columns, values, strict=True)}}
                for identity, *values in requests[[EXAMPLE_ID, *columns]].itertuples(index=False)
            ],
        )

    @cached_property
    def _timelines(self) -> tuple[_Timeline, _Timeline, dict[str, _Timeline]]:
        """Of the outcomes, the requests and the rows of each feature table."""
        labels, predicted = (
            _Timeline(np.asarray(((self.examples[name] - EPOCH) // MICROSECOND).fillna(NAT), np.int64))
            for name in (LABEL_KNOWN_AT, PREDICTED_AT)
        )
        known = {
            name: _Timeline(np.array([NAT if at is None else at for at in known_micros(rows[KNOWN_AT])], np.int64))
            for name, rows in self.features.items()
        }
        return labels, predicted, known


class _Timeline:
    """Finds rows by an instant of each (microseconds since 1970; a missing one is before all)."""

    def __init__(self, instants: NDArray[np.int64]) -> None:
        self._order = np.argsort(instants, kind="stable")
        self._instants = instants[self._order]

    def between(self, after: datetime, until: datetime) -> NDArray[np.intp]:
        """The positions of those in (after, until], in their own order."""
        first, last = np.searchsorted(self._instants, [micros(after), micros(until)], side="right")
        return np.sort(self._order[first:last])


def read_world(context: Context, window: Window) -> World:
    """Read the window, and the days before it that its features need, from the use case's source."""
    usecase = context.usecase
    first = window.calendar.first_of(usecase.start)
    before = math.ceil(usecase.maturity / timedelta(days=1))  # their outcomes become known in the window
    reach = window.widened(max([before, *(table.lookback_days for table in usecase.feature_tables)]), first)
    tables = {table.name: read_window(context.params, usecase, table, reach) for table in usecase.tables}
    features = {
        table.name: feature_rows(
            usecase, table, {name: tables[name] for name in table.sources}, window
        ).combine_chunks()
        for table in usecase.feature_tables
        if table.daily
    }
    examples = to_frame(usecase.examples(tables, window.widened(before, first)))
    keys = {table.name: table.keys for table in usecase.feature_tables}
    return World(window, features, keys, examples, tuple(usecase.request_columns))


def _jsonable(value: Any) -> Any:
    if value is None or (isinstance(value, float) and value != value) or value is pd.NaT:
        return None
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    return value.item() if hasattr(value, "item") else value
