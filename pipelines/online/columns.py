"""Stored features of many requests as columns, from rows of the online store that are cached until they change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import InvalidInput, Unavailable
from pipelines.graph_inputs import exact_column, number_column, string_column
from pipelines.instants import MICROSECOND, SECOND, micros
from pipelines.online.codec import decode_value
from pipelines.online.gather import Gather
from pipelines.online.opening import open_rows
from pipelines.online.rows import OnlineView, StoredRow

if TYPE_CHECKING:
    from feast import FeatureStore

Key = tuple[Any, ...]  # of an entity, in the order of its views' keys
Places = NDArray[np.intp]
MOST = 100_000  # most cached states of entities; beyond that all are dropped
EVER = np.iinfo(np.int64).max  # microseconds; a view without a ttl
NEVER = -(2**61)  # in place of the instant of a row that is not there
LARGEST = float(np.finfo(np.float32).max)
NOWHERE = 0  # the place of an entity without rows


@dataclass(frozen=True)
class StoredColumns:
    """The stored values of N requests; columns are in the order of those of the `ColumnReader`.

    Attributes:
        numbers: (N, n) float32; NaN where missing, or not fresh.
        texts: (N, m) spellings; "" where missing, or not fresh.
        seconds: (N, views) age of the view's row, fresh or not; NaN where there is none.
        stale: (N, views) whether the view's row is not fresh; false where there is none.
        exacts: (N, e) float64, instants as microseconds since 1970; NaN where missing, or not fresh.
        missing: (N, views) how many numbers and texts of the view's row are missing; 0 where it is not fresh.
    """

    numbers: NDArray[np.float32]
    texts: NDArray[np.object_]
    seconds: NDArray[np.float64]
    stale: NDArray[np.bool_]
    exacts: NDArray[np.float64]
    missing: NDArray[np.intp]

    def part(self, first: int, last: int) -> StoredColumns:
        """The columns of some of the requests."""
        return StoredColumns(*(getattr(self, one.name)[first:last] for one in fields(self)))


@dataclass(frozen=True)
class Wanted:
    """The features of one view that models read, as numbers and as categories.

    Attributes:
        ttl: for which its values are fresh; None or nothing: for ever.
        exacts: numbers and instants that inputs are computed from.
    """

    view: str
    numbers: tuple[str, ...]
    texts: tuple[str, ...]
    ttl: timedelta | None
    exacts: tuple[str, ...] = ()

    @property
    def features(self) -> list[str]:
        """All of them, each once."""
        return [*dict.fromkeys((*self.numbers, *self.texts, *self.exacts))]


class _Group:
    """Views of one kind of entity, whose rows are cached together."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        self.keys = keys
        self.wanted: list[Wanted] = []
        self.views: list[OnlineView] = []
        self.places: dict[Key, int] = {}
        self.keys_of: dict[bytes, Key] = {}  # by their encoding

    def forget(self, changed: Mapping[str, Set[bytes]]) -> None:
        """Drop the entities of which a row has changed."""
        for view in self.views:
            for encoded in changed.get(view.name, ()):
                key = self.keys_of.get(encoded)
                if key is not None:
                    self.places.pop(key, None)

    def encode(self, keys: Set[Key]) -> dict[Key, bytes]:
        """The encodings, which the views share; none of a key with an empty part.

        Raises:
            InvalidInput: if a key has the wrong type.
        """
        encoded = ((key, self.views[0].keys.encode(key)) for key in keys)
        return {key: raw for key, raw in encoded if raw is not None}

    def values(self, rows: Sequence[StoredRow | None]) -> tuple[list[float], list[str], list[float], list[int]]:
        """Numbers, categories, exact numbers; and of each view's row its instant, and how many of the first it has.

        Raises:
            InvalidInput: if a value is no number, or has no spelling, where it must.
        """
        numbers: list[float] = []
        texts: list[str] = []
        exacts: list[float] = []
        states: list[int] = []
        for one, row in zip(self.wanted, rows, strict=True):
            at, cells = row or (None, {})
            numbers += (_number(decode_value(cells.get(name)), name) for name in one.numbers)
            texts += (str(string_column([decode_value(cells.get(name))], name)[0]) for name in one.texts)
            exacts += (_exact(decode_value(cells.get(name)), name) for name in one.exacts)
            mine = numbers[len(numbers) - len(one.numbers) :], texts[len(texts) - len(one.texts) :]
            present = sum(number == number for number in mine[0]) + sum(text != "" for text in mine[1])
            states += (NEVER if at is None else micros(at), present)
        return numbers, texts, exacts, states


class ColumnReader:
    """Reads several views at once, and caches their rows until the online store changes.

    A read after the end of a push or a materialization, in any process, gives the values that it wrote.

    Args:
        wanted: the views to read; may be empty.
        patience: seconds that a read waits for the online store.

    Attributes:
        numbers, texts, exacts: what the columns of a read are, as `view:feature`.
        views: likewise of its ages.
        exact_view: (e,) the position of each exact number's view.
        widths: (views,) how many numbers and texts it has.
        keys: names of the columns that a read needs.
    """

    def __init__(self, store: FeatureStore, wanted: Sequence[Wanted], patience: float | None = None) -> None:
        groups: dict[tuple[Any, ...], _Group] = {}
        for one in wanted:
            view = OnlineView.of(store.get_feature_view(one.view), one.features)
            group = groups.setdefault((view.keys.names, view.keys.kinds), _Group(view.keys.names))
            group.wanted.append(one)
            group.views.append(view)
        self._groups = [*groups.values()]
        ordered = [one for group in self._groups for one in group.wanted]
        self.keys = tuple(dict.fromkeys(name for group in self._groups for name in group.keys))
        self.views = tuple(one.view for one in ordered)
        self.numbers = tuple(f"{one.view}:{name}" for one in ordered for name in one.numbers)
        self.texts = tuple(f"{one.view}:{name}" for one in ordered for name in one.texts)
        self.exacts = tuple(f"{one.view}:{name}" for one in ordered for name in one.exacts)
        self.exact_view = np.repeat(np.arange(len(ordered)), [len(one.exacts) for one in ordered])
        self.widths = np.array([len(one.numbers) + len(one.texts) for one in ordered], dtype=np.intp)
        self._lives = np.array([one.ttl // MICROSECOND if one.ttl else EVER for one in ordered], dtype=np.int64)
        self._rows = open_rows(store, patience)
        self._mark: object = None
        self._clear()

    def _clear(self) -> None:
        groups = [group.wanted for group in self._groups]
        self._stored = (
            Gather(np.float32, np.nan, [[len(one.numbers) for one in wanted] for wanted in groups]),
            Gather(np.object_, "", [[len(one.texts) for one in wanted] for wanted in groups]),
            Gather(np.float64, np.nan, [[len(one.exacts) for one in wanted] for wanted in groups]),
            Gather(np.int64, NEVER, [[2] * len(wanted) for wanted in groups]),
        )
        self._kept = 0
        for group in self._groups:
            group.places.clear()
            group.keys_of.clear()

    def read(self, columns: Mapping[str, Sequence[Any]], rows: int, at: int) -> StoredColumns:
        """The columns of the views for N requests, with freshness at an instant (microseconds since 1970).

        A value known after it, or older than its view's ttl, is missing. A request with an empty key has no entity.

        Args:
            columns: of keys by name, a value for each request.

        Raises:
            InvalidInput: if a key has the wrong type, or a value is no number, or has no spelling, where it must.
            Unavailable: if the online store does not answer.
        """
        if not self._groups:
            return self.nothing(rows)
        keys = [_keys(group.keys, columns, rows) for group in self._groups]
        try:
            places = self._places(keys)
        except self._rows.failures as error:
            raise Unavailable(f"the online store is unavailable ({str(error) or type(error).__name__})") from error
        return self._columns(places, at)

    def nothing(self, rows: int) -> StoredColumns:
        """The columns of `rows` requests without the online store: all values are missing."""
        return self._columns(np.full((rows, len(self._groups)), NOWHERE, dtype=np.intp), 0)

    def _columns(self, places: Places, at: int) -> StoredColumns:
        of_numbers, of_texts, of_exacts, of_states = self._stored
        states = of_states.get(places)
        known_at, present = states[:, ::2], states[:, 1::2]
        is_there, age = known_at != NEVER, at - known_at
        stale = is_there & ((age < 0) | (age > self._lives))
        missing = self.widths - np.where(is_there, present, 0)
        hidden = stale if stale.any() else None
        if hidden is not None:
            missing[hidden] = 0
        return StoredColumns(
            of_numbers.get(places, hidden),
            of_texts.get(places, hidden) if self.texts else np.empty((len(places), 0), dtype=object),
            np.where(is_there, age / SECOND, np.nan),
            stale,
            of_exacts.get(places, hidden) if self.exacts else np.empty((len(places), 0)),
            missing,
        )

    def _places(self, keys: Sequence[Sequence[Key]]) -> Places:
        """(N, groups) the places of the requests' entities in the cache; missing and outdated ones are fetched."""
        self._mark, changed = self._rows.changed(
            self._mark
        )  # before the rows, so that later writes are reported by the next mark
        if changed is None or self._kept > MOST:
            self._clear()
        elif changed:
            for group in self._groups:
                group.forget(changed)
        found = [[*map(group.places.get, of_group)] for group, of_group in zip(self._groups, keys, strict=True)]
        if any(None in of_group for of_group in found):
            lacking = [
                {key for key, place in zip(of_group, places, strict=True) if place is None}
                for of_group, places in zip(keys, found, strict=True)
            ]
            self._fetch(lacking)
            found = [[*map(group.places.get, of_group)] for group, of_group in zip(self._groups, keys, strict=True)]
        return np.array(found, dtype=np.intp).T

    def _fetch(self, lacking: Sequence[set[Key]]) -> None:
        encoded = [group.encode(keys) for group, keys in zip(self._groups, lacking, strict=True)]
        lookups = [
            (view, [*of_group.values()])
            for group, of_group in zip(self._groups, encoded, strict=True)
            for view in (group.views if of_group else ())
        ]
        stored = iter(self._rows.get(lookups))
        for group, keys, of_group in zip(self._groups, lacking, encoded, strict=True):
            of_views = [next(stored) if of_group else {} for _ in group.views]
            self._kept += len(keys)
            group.keys_of |= {raw: key for key, raw in of_group.items()}
            for key in keys:
                rows = [rows.get(of_group.get(key, b"")) for rows in of_views]
                group.places[key] = self._keep(group.values(rows)) if any(rows) else NOWHERE

    def _keep(self, values: Sequence[Sequence[Any]]) -> int:
        (place,) = {gather.add(some) for gather, some in zip(self._stored, values, strict=True)}
        return place


def _number(value: Any, name: str) -> float:
    """As `number_column` has it: beside others of its kind, which says the same, it would cost many times more."""
    return value if type(value) is float and abs(value) <= LARGEST else float(number_column([value], name)[0])


def _exact(value: Any, name: str) -> float:
    """A number as it is; an instant in microseconds, of which float64 holds all whole seconds."""
    return float(micros(value) if isinstance(value, datetime) else exact_column([value], name)[0])


def _keys(names: Sequence[str], columns: Mapping[str, Any], rows: int) -> list[Key]:
    """The entity of each request."""
    if not names:
        return [()] * rows
    try:
        parts = [columns[name] for name in names]
    except KeyError as error:
        raise InvalidInput(f"requests lack the key {error}; add it to request_columns or request_keys") from None
    return [*zip(*parts, strict=True)]
