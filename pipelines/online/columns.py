"""Stored features of many requests as columns, from rows of the online store that are kept until they change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import InvalidInput
from pipelines.graph_inputs import number_column, string_column
from pipelines.instants import MICROSECOND, SECOND, micros
from pipelines.online.codec import decode_value
from pipelines.online.opening import open_rows
from pipelines.online.rows import OnlineView, StoredRow

if TYPE_CHECKING:
    from feast import FeatureStore

Key = tuple[Any, ...]  # of an entity, in the order of its view's keys
MOST = 500_000  # rows kept; beyond that all are read anew
EVER = np.iinfo(np.int64).max  # microseconds; a view without a ttl


@dataclass(frozen=True)
class ViewColumns:
    """What one view has for N requests.

    Attributes:
        numbers: (N, n) float32; NaN where missing, or not fresh.
        texts: (N, m) spellings; "" where missing, or not fresh.
        seconds: (N, n + m) ages of numbers and texts, fresh or not; NaN where there is no value.
        stale: (N,) whether the row is not fresh; false where there is none.
    """

    numbers: NDArray[np.float32]
    texts: NDArray[np.object_]
    seconds: NDArray[np.float64]
    stale: NDArray[np.bool_]


@dataclass(frozen=True)
class _Entry:
    """The row of one entity: when it was known, in microseconds, its values, and which of them are there."""

    known_at: int
    numbers: NDArray[np.float32]
    texts: NDArray[np.object_]
    present: NDArray[np.bool_]


class CachedView:
    """One view with the features that models read, as numbers and as categories, and its rows.

    Args:
        ttl: for which its values are fresh; None or nothing: for ever.
    """

    def __init__(
        self, store: FeatureStore, view: str, numbers: Sequence[str], texts: Sequence[str], ttl: timedelta | None
    ) -> None:
        self.view = OnlineView.of(store.get_feature_view(view), [*dict.fromkeys((*numbers, *texts))])
        self.keys = self.view.keys.names
        self.numbers, self.texts = tuple(numbers), tuple(texts)
        self.life = ttl // MICROSECOND if ttl else EVER
        self.rows: dict[Key | None, _Entry] = {}
        none = np.zeros(len(self.numbers) + len(self.texts), dtype=bool)
        missing = np.full(len(self.numbers), np.nan, dtype=np.float32)
        self.absent = _Entry(0, missing, np.full(len(self.texts), "", dtype=object), none)

    def entry(self, stored: StoredRow | None) -> _Entry:
        """A row as it is kept.

        Raises:
            InvalidInput: if a value is no number, or has no spelling, where it must.
        """
        if stored is None:
            return self.absent
        known_at, cells = stored
        values = {name: decode_value(cells.get(name)) for name in self.view.features}
        numbers = [number_column([values[name]], name)[0] for name in self.numbers]
        texts = [string_column([values[name]], name)[0] for name in self.texts]
        present = [values[name] is not None for name in (*self.numbers, *self.texts)]
        return _Entry(
            micros(known_at),
            np.array(numbers, dtype=np.float32),
            np.array(texts, dtype=object),
            np.array(present, dtype=bool),
        )

    def columns(self, keys: Sequence[Key | None], at: int) -> ViewColumns:
        """What is kept of the entities of N requests (None: of no entity), with freshness at an instant."""
        entries = [self.rows[key] for key in keys]
        known_at = np.array([entry.known_at for entry in entries], dtype=np.int64)
        present = np.array([entry.present for entry in entries], dtype=bool).reshape(len(keys), -1)
        age = at - known_at
        old = (age < 0) | (age > self.life)
        numbers = np.array([entry.numbers for entry in entries], dtype=np.float32).reshape(len(keys), -1)
        texts = np.array([entry.texts for entry in entries], dtype=object).reshape(len(keys), -1)
        if old.any():
            numbers[old], texts[old] = np.nan, ""
        seconds = np.where(present, (age / SECOND)[:, None], np.nan)
        return ViewColumns(numbers, texts, seconds, old & present.any(axis=1))


class ColumnReader:
    """Reads several views at once, and keeps their rows for as long as nobody has written to the online store.

    Whoever reads after a push or a materialization has ended, in whichever process, reads what it wrote.

    Args:
        views: those to read.
    """

    def __init__(self, store: FeatureStore, views: Sequence[CachedView]) -> None:
        self.views = tuple(views)
        self._rows = open_rows(store)
        self._generation: object = None

    def read(self, columns: Mapping[str, NDArray[Any] | Sequence[Any]], rows: int, at: int) -> list[ViewColumns]:
        """The columns of each view for so many requests, with freshness at an instant (microseconds since 1970).

        A value known after it, or older than its view's ttl, is missing. A request with an empty key has no entity.

        Args:
            columns: of keys by name, a value for each request.

        Raises:
            InvalidInput: if a key has the wrong type, or a value is no number, or has no spelling, where it must.
        """
        generation = self._rows.generation()  # before the rows: what is written after it makes another one
        if generation != self._generation or sum(len(view.rows) for view in self.views) > MOST:
            for view in self.views:
                view.rows = {None: view.absent}
            self._generation = generation
        keys = [_keys(view.keys, columns, rows) for view in self.views]
        self._fetch([{*of_view} - view.rows.keys() for view, of_view in zip(self.views, keys, strict=True)])
        return [view.columns(of_view, at) for view, of_view in zip(self.views, keys, strict=True)]

    def _fetch(self, lacking: Sequence[set[Key | None]]) -> None:
        wanted = [
            (view, {key: view.view.keys.encode(key) for key in keys if key is not None})
            for view, keys in zip(self.views, lacking, strict=True)
            if keys
        ]
        if not wanted:
            return
        lookups = [(view.view, [encoded for encoded in keys.values() if encoded is not None]) for view, keys in wanted]
        for (view, keys), stored in zip(wanted, self._rows.get(lookups), strict=True):
            view.rows.update({key: view.entry(stored.get(encoded or b"")) for key, encoded in keys.items()})


def _keys(names: Sequence[str], columns: Mapping[str, Any], rows: int) -> list[Key | None]:
    """The entity of each request; None where one of its keys is empty."""
    if not names:
        return [()] * rows
    try:
        parts = [columns[name] for name in names]
    except KeyError as error:
        raise InvalidInput(f"requests lack the key {error}; add it to request_columns or request_keys") from None
    return [None if None in key else key for key in zip(*parts, strict=True)]
