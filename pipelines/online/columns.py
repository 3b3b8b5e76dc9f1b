"""Stored features of many requests as columns, from rows of the online store that are kept until they change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import InvalidInput, Unavailable
from pipelines.graph_inputs import number_column, string_column
from pipelines.instants import MICROSECOND, SECOND, micros
from pipelines.online.codec import decode_value
from pipelines.online.opening import open_rows
from pipelines.online.rows import OnlineView, StoredRow

if TYPE_CHECKING:
    from feast import FeatureStore

Key = tuple[Any, ...]  # of an entity, in the order of its view's keys
MOST = 500_000  # rows kept of a view; beyond that all are read anew
EVER = np.iinfo(np.int64).max  # microseconds; a view without a ttl


@dataclass(frozen=True)
class StoredColumns:
    """What the views have for N requests; the columns of each view follow those of the one before.

    Attributes:
        numbers: (N, n) float32; NaN where missing, or not fresh.
        texts: (N, m) spellings; "" where missing, or not fresh.
        number_seconds, text_seconds: (N, n) and (N, m) ages, fresh or not; NaN where there is no value.
        stale: (N, views) whether a view's row is not fresh; false where there is none.
    """

    numbers: NDArray[np.float32]
    texts: NDArray[np.object_]
    number_seconds: NDArray[np.float64]
    text_seconds: NDArray[np.float64]
    stale: NDArray[np.bool_]


class CachedView:
    """One view with the features that models read, as numbers and as categories, and its rows.

    Rows are kept in columns that grow; the first is that of an entity without a row.

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
        self.clear()

    def clear(self) -> None:
        """Forget all rows."""
        self.places: dict[Key | None, int] = {None: 0}
        self._size = 1
        self._known_at = np.zeros(64, dtype=np.int64)
        self._numbers = np.full((64, len(self.numbers)), np.nan, dtype=np.float32)
        self._texts = np.full((64, len(self.texts)), "", dtype=object)
        self._present = np.zeros((64, len(self.numbers) + len(self.texts)), dtype=bool)

    def keep(self, key: Key | None, stored: StoredRow | None) -> None:
        """Keep the row of an entity; None: it has none.

        Raises:
            InvalidInput: if a value is no number, or has no spelling, where it must.
        """
        if stored is None:
            self.places[key] = 0
            return
        values = {name: decode_value(stored[1].get(name)) for name in self.view.features}
        numbers = [number_column([values[name]], name)[0] for name in self.numbers]
        texts = [string_column([values[name]], name)[0] for name in self.texts]
        if self._size == len(self._known_at):
            self._grow()
        place = self._size
        self._known_at[place] = micros(stored[0])
        self._numbers[place], self._texts[place] = numbers, texts
        self._present[place] = [values[name] is not None for name in (*self.numbers, *self.texts)]
        self._size, self.places[key] = place + 1, place

    def _grow(self) -> None:
        for name in ("_known_at", "_numbers", "_texts", "_present"):
            column = getattr(self, name)
            setattr(self, name, np.concatenate([column, np.empty_like(column)]))

    def columns(self, keys: Sequence[Key | None], at: int) -> StoredColumns:
        """What is kept of the entities of N requests (None: of no entity), with freshness at an instant."""
        places = np.array([self.places[key] for key in keys], dtype=np.intp)
        present = self._present[places]
        age = at - self._known_at[places]
        old = (age < 0) | (age > self.life)
        numbers, texts = self._numbers[places], self._texts[places]
        if old.any():
            numbers[old], texts[old] = np.nan, ""
        seconds = np.where(present, (age / SECOND)[:, None], np.nan)
        count, stale = len(self.numbers), (old & present.any(axis=1))[:, None]
        return StoredColumns(numbers, texts, seconds[:, :count], seconds[:, count:], stale)


class ColumnReader:
    """Reads several views at once, and keeps their rows for as long as nobody has written to the online store.

    Whoever reads after a push or a materialization has ended, in whichever process, reads what it wrote.

    Args:
        views: those to read; perhaps none.
        patience: seconds that a read waits for the online store.
    """

    def __init__(self, store: FeatureStore, views: Sequence[CachedView], patience: float | None = None) -> None:
        self.views = tuple(views)
        self._rows = open_rows(store, patience)
        self._generation: object = None

    def read(self, columns: Mapping[str, NDArray[Any] | Sequence[Any]], rows: int, at: int) -> StoredColumns:
        """The columns of the views for so many requests, with freshness at an instant (microseconds since 1970).

        A value known after it, or older than its view's ttl, is missing. A request with an empty key has no entity.

        Args:
            columns: of keys by name, a value for each request.

        Raises:
            InvalidInput: if a key has the wrong type, or a value is no number, or has no spelling, where it must.
            Unavailable: if the online store does not answer.
        """
        if not self.views:
            return self.nothing(rows)
        keys = [_keys(view.keys, columns, rows) for view in self.views]
        try:
            self._refresh(keys)
        except self._rows.failures as error:
            raise Unavailable(f"the online store does not answer ({error or type(error).__name__})") from error
        parts = [view.columns(of_view, at) for view, of_view in zip(self.views, keys, strict=True)]
        joined = {field.name: [getattr(part, field.name) for part in parts] for field in fields(StoredColumns)}
        return StoredColumns(**{name: np.concatenate(of_views, axis=1) for name, of_views in joined.items()})

    def nothing(self, rows: int) -> StoredColumns:
        """What is known of so many requests without the online store: nothing."""
        numbers, texts = (sum(len(getattr(view, of)) for view in self.views) for of in ("numbers", "texts"))
        return StoredColumns(
            np.full((rows, numbers), np.nan, dtype=np.float32),
            np.full((rows, texts), "", dtype=object),
            np.full((rows, numbers), np.nan),
            np.full((rows, texts), np.nan),
            np.zeros((rows, len(self.views)), dtype=bool),
        )

    def _refresh(self, keys: Sequence[Sequence[Key | None]]) -> None:
        """Fetch the rows that are not kept, or no longer as they are."""
        generation = self._rows.generation()  # before the rows: what is written after it makes another one
        if generation != self._generation or any(len(view.places) > MOST for view in self.views):
            for view in self.views:
                view.clear()
            self._generation = generation
        self._fetch([{*of_view} - view.places.keys() for view, of_view in zip(self.views, keys, strict=True)])

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
            for key, encoded in keys.items():
                view.keep(key, stored.get(encoded or b""))


def _keys(names: Sequence[str], columns: Mapping[str, Any], rows: int) -> list[Key | None]:
    """The entity of each request; None where one of its keys is empty."""
    if not names:
        return [()] * rows
    try:
        parts = [columns[name] for name in names]
    except KeyError as error:
        raise InvalidInput(f"requests lack the key {error}; add it to request_columns or request_keys") from None
    return [None if None in key else key for key in zip(*parts, strict=True)]
