"""Online features with freshness enforced: Feast serves expired values as if they were fresh (feast-dev/feast#6821)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from pipelines.errors import InvalidInput
from pipelines.online.codec import decode_value
from pipelines.online.opening import open_rows
from pipelines.online.rows import Held, OnlineView

if TYPE_CHECKING:
    from feast import FeatureStore

Values = Mapping[str, Any]  # column -> value
Ttls = Mapping[str, timedelta | None]
NOTHING = timedelta(0)


@dataclass(frozen=True)
class OnlineFeatures:
    """Features of one entity row.

    Attributes:
        values: by feature name; None where there is no value or it is not fresh.
        ages: by feature name, counted from `as_of`; None where there is no value at all.
    """

    values: Values
    ages: Mapping[str, timedelta | None]


class OnlineReader:
    """Reads some features again and again, straight from the rows of the online store.

    Declarations are looked up once: a reader knows nothing of what is registered after it was made.

    Args:
        features: as `view:feature`, no two of the same feature name.
        ttls: by view, in place of the registered ones.

    Raises:
        InvalidInput: if a view has no such feature.
    """

    def __init__(self, store: FeatureStore, features: Sequence[str], ttls: Ttls | None = None) -> None:
        wanted: dict[str, list[str]] = {}
        for ref in features:
            view, _, name = ref.partition(":")
            wanted.setdefault(view, []).append(name)
        found = {name: store.get_feature_view(name) for name in wanted}
        for name, view in found.items():
            if unknown := set(wanted[name]) - {field.name for field in view.features}:
                raise InvalidInput(f"{name} has no features {sorted(unknown)}; apply_features, or correct the names")
        self._views = [OnlineView.of(view, wanted[name]) for name, view in found.items()]
        self._lives = [(ttls or {}).get(name, view.ttl) or None for name, view in found.items()]
        self._rows = open_rows(store)

    def read(self, rows: Sequence[Values], as_of: datetime) -> list[OnlineFeatures]:
        """The features of each entity row, as they stand online, judged at `as_of`.

        A value known after `as_of` or older than its view's ttl comes back as missing, with its age. A row with an
        empty key belongs to no entity.

        Raises:
            InvalidInput: if a key is absent or not of its type.
        """
        values: list[dict[str, Any]] = [{} for _ in rows]
        ages: list[dict[str, timedelta | None]] = [{} for _ in rows]
        keys = [[_key(view, row) for row in rows] for view in self._views]
        asked = [[*dict.fromkeys(key for key in of_view if key is not None)] for of_view in keys]
        held = self._rows.get([*zip(self._views, asked, strict=True)])
        for view, ttl, of_view, found in zip(self._views, self._lives, keys, held, strict=True):
            judged = {key: _judged(view, row, ttl, as_of) for key, row in found.items()}
            absent = dict.fromkeys(view.features)
            for number, key in enumerate(of_view):
                of_row = (judged.get(key) if key is not None else None) or (absent, absent)
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
    """Features (as `view:feature`) of each entity row, as `OnlineReader.read` gives them.

    Args:
        ttls: by view, for a caller that reads often: the declarations are then looked up once per store and features.
            By default they are looked up anew, which costs more than the read.
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


def _judged(
    view: OnlineView, row: Held, ttl: timedelta | None, as_of: datetime
) -> tuple[dict[str, Any], dict[str, timedelta | None]]:
    known_at, held = row
    age = as_of - known_at
    fresh = age >= NOTHING and (ttl is None or age <= ttl)
    values = {name: decode_value(held.get(name)) for name in view.features}
    ages = {name: None if value is None else age for name, value in values.items()}
    return (values if fresh else dict.fromkeys(values)), ages
