"""Online features with enforced freshness: Feast serves expired values as if they were fresh (feast-dev/feast#6821)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from pipelines.errors import InvalidInput
from pipelines.online.codec import decode_value
from pipelines.online.opening import open_rows
from pipelines.online.rows import OnlineView, StoredRow

if TYPE_CHECKING:
    from feast import FeatureStore

Values = Mapping[str, Any]  # column -> value
Ttls = Mapping[str, timedelta | None]
NOTHING = timedelta(0)


@dataclass(frozen=True)
class OnlineFeatures:
    """Features of one entity row.

    Attributes:
        values: by feature name; None where the value is missing or not fresh.
        ages: by feature name, at `as_of`; None where the value is missing.
    """

    values: Values
    ages: Mapping[str, timedelta | None]


class OnlineReader:
    """Reads features repeatedly, directly from the rows of the online store.

    Declarations are looked up once, when the reader is created; later registrations have no effect on it.

    Args:
        features: as `view:feature`, no two of the same feature name.
        ttls: by view, in place of the registered ones.

    Raises:
        InvalidInput: if a view has no such feature.
    """

    def __init__(self, store: FeatureStore, features: Sequence[str], ttls: Ttls | None = None) -> None:
        names_by_view: dict[str, list[str]] = {}
        for ref in features:
            view, _, name = ref.partition(":")
            names_by_view.setdefault(view, []).append(name)
        views = {name: store.get_feature_view(name) for name in names_by_view}
        for name, view in views.items():
            if unknown := set(names_by_view[name]) - {field.name for field in view.features}:
                raise InvalidInput(f"{name} has no features {sorted(unknown)}; apply_features, or correct the names")
        self._views = [OnlineView.of(view, names_by_view[name]) for name, view in views.items()]
        self._lives = [(ttls or {}).get(name, view.ttl) or None for name, view in views.items()]
        self._rows = open_rows(store)

    def read(self, rows: Sequence[Values], as_of: datetime) -> list[OnlineFeatures]:
        """The features of each entity row in the online store, with freshness judged at `as_of`.

        A value known after `as_of` or older than its view's ttl is returned as missing, with its age. A row with an
        empty key belongs to no entity.

        Raises:
            InvalidInput: if a key is absent or has the wrong type.
        """
        values: list[dict[str, Any]] = [{} for _ in rows]
        ages: list[dict[str, timedelta | None]] = [{} for _ in rows]
        keys = [[_key(view, row) for row in rows] for view in self._views]
        lookups = [[*dict.fromkeys(key for key in of_view if key is not None)] for of_view in keys]
        stored = self._rows.get([*zip(self._views, lookups, strict=True)])
        for view, ttl, of_view, stored_rows in zip(self._views, self._lives, keys, stored, strict=True):
            by_key = {key: _judge(view, row, ttl, as_of) for key, row in stored_rows.items()}
            absent = dict.fromkeys(view.features)
            for number, key in enumerate(of_view):
                of_row = (by_key.get(key) if key is not None else None) or (absent, absent)
                values[number].update(of_row[0])
                ages[number].update(of_row[1])
        return [OnlineFeatures(*pair) for pair in zip(values, ages, strict=True)]


def read_online(
    store: FeatureStore,
    features: Sequence[str],
    rows: Sequence[Values],
    as_of: datetime,
    ttls: Ttls | None = None,
) -> list[OnlineFeatures]:
    """Features (as `view:feature`) of each entity row, as `OnlineReader.read` returns them.

    Args:
        ttls: by view, for frequent reads: declarations are then looked up once per store and features. By default each
            call looks them up, which costs more than the read.
    """
    if not rows:
        return []
    if ttls is None:
        return OnlineReader(store, features).read(rows, as_of)
    readers = _readers.setdefault(store, {})
    identity = (tuple(features), tuple(ttls.items()))
    if identity not in readers:
        readers[identity] = OnlineReader(store, features, ttls)
    return readers[identity].read(rows, as_of)


_readers: WeakKeyDictionary[FeatureStore, dict[Any, OnlineReader]] = WeakKeyDictionary()


def _key(view: OnlineView, row: Values) -> bytes | None:
    try:
        return view.keys.encode([row[name] for name in view.keys.names])
    except KeyError as error:
        raise InvalidInput(f"entity rows lack the key {error} of {view.name}; add it") from None


def _judge(
    view: OnlineView, row: StoredRow, ttl: timedelta | None, as_of: datetime
) -> tuple[dict[str, Any], dict[str, timedelta | None]]:
    known_at, cells = row
    age = as_of - known_at
    is_fresh = age >= NOTHING and (ttl is None or age <= ttl)
    values = {name: decode_value(cells.get(name)) for name in view.features}
    ages = {name: None if value is None else age for name, value in values.items()}
    return (values if is_fresh else dict.fromkeys(values)), ages
