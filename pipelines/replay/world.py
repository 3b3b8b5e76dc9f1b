"""What happens in a window, in the order in which it becomes known: feature rows, requests, outcomes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import pyarrow as pa

from pipelines.context import Context
from pipelines.features.stream import known_between
from pipelines.instants import MICROSECOND
from pipelines.json_text import JsonObject
from pipelines.sources import read_window
from pipelines.usecase import EXAMPLE_ID, LABEL, LABEL_KNOWN_AT, PREDICTED_AT
from pipelines.windows import Window


@dataclass(frozen=True)
class Tick:
    """What a replay does at one instant.

    Attributes:
        at: the instant; the clock stands here when the rest happens.
        features: by feature table, rows known since the tick before, up to and including `at`.
        outcomes: (prediction id, label) that became known since the tick before.
        requests: bodies of the predictions asked for from now until the next tick, each with its id.
    """

    at: datetime
    features: Mapping[str, pa.Table]
    outcomes: list[tuple[str, float]]
    requests: list[JsonObject]


@dataclass(frozen=True)
class World:
    """A window of the source, read once. Nothing of it is told before it was known.

    Attributes:
        features: rows by feature table.
        keys: entity columns by feature table.
        examples: those predicted in the window, and those before it whose outcomes may become known in it.
    """

    window: Window
    features: Mapping[str, pa.Table]
    keys: Mapping[str, tuple[str, ...]]
    examples: pd.DataFrame
    request_columns: tuple[str, ...]

    def ticks(self, every: timedelta, since: datetime | None = None) -> Iterator[Tick]:
        """The ticks of the window from `since` on, and a last one at its end that asks for nothing.

        A feature known between two ticks is told at the later one, so what a request sees is never more than was known.
        """
        at, last = self.window.start_at, self.window.end_at - MICROSECOND
        while at <= last:
            if since is None or at >= since:
                yield self._tick(at - every, at, at + every)
            at += every
        yield self._tick(at - every, last, last)

    def _tick(self, before: datetime, at: datetime, after: datetime) -> Tick:
        known = self.examples[_between(self.examples[LABEL_KNOWN_AT], before, at)]
        first = max(at, self.window.start_at)
        asked = self.examples[(self.examples[PREDICTED_AT] >= first) & (self.examples[PREDICTED_AT] < after)]
        told = {name: known_between(rows, before, at) for name, rows in self.features.items()}
        columns = [*self.request_columns]
        return Tick(
            at=at,
            features={name: rows for name, rows in told.items() if len(rows)},
            outcomes=list(zip(known[EXAMPLE_ID], known[LABEL], strict=True)),
            requests=[
                {"id": identity, **{name: _jsonable(value) for name, value in zip(columns, values, strict=True)}}
                for identity, *values in asked[[EXAMPLE_ID, *columns]].itertuples(index=False)
            ],
        )


def read_world(context: Context, window: Window) -> World:
    """Read the window, and as much before it as its features rest on, from the use case's source."""
    usecase = context.usecase
    reach = window.widened(max((table.lookback_days for table in usecase.feature_tables), default=0), usecase.start)
    tables = {table.name: read_window(context.params, usecase, table, reach) for table in usecase.tables}
    features = {
        table.name: usecase.build(table, {name: tables[name] for name in table.sources}, window)
        for table in usecase.feature_tables
        if table.daily
    }
    before = math.ceil(usecase.maturity / timedelta(days=1))  # what was asked then is known only now
    examples = usecase.examples(tables, window.widened(before, usecase.start)).to_pandas()
    keys = {table.name: table.keys for table in usecase.feature_tables}
    return World(window, features, keys, examples, tuple(usecase.request_columns))


def _between(instants: pd.Series[Any], after: datetime, until: datetime) -> pd.Series[bool]:
    return (instants > after) & (instants <= until)


def _jsonable(value: Any) -> Any:
    if value is None or (isinstance(value, float) and value != value) or value is pd.NaT:
        return None
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    return value.item() if hasattr(value, "item") else value
