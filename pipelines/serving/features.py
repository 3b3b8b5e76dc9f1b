"""The features of a call as arrays: stored ones by one online read for all rows and versions, and the request's own."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import InvalidInput, Unavailable
from pipelines.graph_inputs import number_column, string_column
from pipelines.instants import micros
from pipelines.online.columns import CachedView, ColumnReader, StoredColumns
from pipelines.params.serving import Serving
from pipelines.records import Lack
from pipelines.request_columns import computed, from_requests, kinds_of
from pipelines.usecase import Columns, ModelInputs, Request, UseCase

if TYPE_CHECKING:
    from feast import FeatureStore

log = logging.getLogger(__name__)
Arrays = tuple[NDArray[np.float32], NDArray[np.object_]]  # numeric and categorical inputs of a model
MISSING, STALE = "missing", "stale"
AGAIN_AFTER = 1.0  # seconds until a store that failed is tried again


@dataclass(frozen=True)
class Needs:
    """The inputs of one model, and where they come from.

    Attributes:
        numeric: its inputs, in order.
        categorical: its inputs, in order.
        refs: `view:feature` of the inputs that are stored; the others come from the request.
        ttls: by view.
        keys: join keys by view.
    """

    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    refs: Mapping[str, str]
    ttls: Mapping[str, timedelta | None]
    keys: Mapping[str, tuple[str, ...]]


def needs_of(store: FeatureStore, service: str, inputs: ModelInputs, usecase: UseCase) -> Needs:
    """The needs of a model with these inputs, trained on a feature service.

    Raises:
        InvalidInput: if the service is not registered, or a view needs a key that requests do not provide.
    """
    from feast.errors import FeatureServiceNotFoundException

    try:
        projections = store.get_feature_service(service).feature_view_projections
    except FeatureServiceNotFoundException:
        raise InvalidInput(f"feature service {service!r} is not registered; run apply_features") from None
    refs = {field.name: f"{view.name}:{field.name}" for view in projections for field in view.features}
    refs = {name: ref for name, ref in refs.items() if name in inputs.names}
    views = {ref.split(":")[0] for ref in refs.values()}
    feature_views = {view: store.get_feature_view(view) for view in sorted(views)}
    keys = {name: tuple(view.join_keys) for name, view in feature_views.items()}
    missing_keys = {key for of_view in keys.values() for key in of_view} - {
        *usecase.request_columns,
        *usecase.request_keys,
    }
    if missing_keys:
        raise InvalidInput(
            f"requests lack the keys {sorted(missing_keys)} of {service}; add them to request_columns or request_keys"
        )
    return Needs(
        inputs.numeric, inputs.categorical, refs, {name: view.ttl for name, view in feature_views.items()}, keys
    )


class Layout:
    """Where the inputs of the models of one routing plan are found: one online read serves them all.

    Args:
        needs: by registered version; at least one.
        rules: what happens where the online store does not answer.
    """

    def __init__(self, store: FeatureStore, usecase: UseCase, needs: Mapping[str, Needs], rules: Serving) -> None:
        self._usecase, self._kinds, self._rules = usecase, kinds_of(usecase), rules
        self._failed: tuple[Unavailable, float] | None = None  # and when, by monotonic time
        views: dict[str, tuple[dict[str, None], dict[str, None]]] = {}  # numbers and categories, each once, in order
        for need in needs.values():
            for names, of in ((need.numeric, 0), (need.categorical, 1)):
                for ref in (need.refs[name] for name in names if name in need.refs):
                    view, _, feature = ref.partition(":")
                    views.setdefault(view, ({}, {}))[of][feature] = None
        ttls = {view: ttl for need in needs.values() for view, ttl in need.ttls.items()}
        cached = [CachedView(store, view, [*of[0]], [*of[1]], ttls[view]) for view, of in sorted(views.items())]
        self._reader = ColumnReader(store, cached, rules.store_wait_ms / 1000)
        numbers = {f"{view.view.name}:{name}": None for view in cached for name in view.numbers}
        texts = {f"{view.view.name}:{name}": None for view in cached for name in view.texts}
        self._labels = dict(zip(needs, logged_names(list(needs.values())), strict=True))
        self._numeric = {version: _Source.of(need.numeric, need.refs, [*numbers]) for version, need in needs.items()}
        self._categorical = {
            version: _Source.of(need.categorical, need.refs, [*texts]) for version, need in needs.items()
        }
        aged = {self._labels[version][name]: ref for version, need in needs.items() for name, ref in need.refs.items()}
        self._aged = [*aged], [[*numbers, *texts].index(ref) for ref in aged.values()]
        self._view_of = [[ref.partition(":")[0] for ref in refs] for refs in (numbers, texts)]

    def read(self, requests: Sequence[Request], at: datetime) -> Features:
        """The features of validated requests, with freshness as of `at`.

        Raises:
            InvalidInput: if `request_features`, or a stored value, is not what is declared.
            Unavailable: if the online store does not answer, and the rules do not say to go on without it.
        """
        columns = from_requests(self._kinds, requests, at)
        own = {**columns, **computed(self._usecase, columns, len(requests))}
        keys: dict[str, list[Any]] = {name: [request[name] for request in requests] for name in requests[0]}
        keys |= {name: own[name].tolist() for name in self._usecase.request_keys}
        try:
            return Features(len(requests), own, self._read_stored(keys, len(requests), micros(at)))
        except Unavailable as error:
            if self._rules.when_store_fails == "refuse":
                raise
            log.error("%s; scores are on missing values", error)
            return Features(len(requests), own, self._reader.nothing(len(requests)), has_stored=False)

    def _read_stored(self, keys: Mapping[str, Sequence[Any]], rows: int, at: int) -> StoredColumns:
        """Read the store, but not again just after it failed, so that its calls do not wait one after the other."""
        if self._failed and time.monotonic() - self._failed[1] < AGAIN_AFTER:
            raise self._failed[0]
        try:
            stored = self._reader.read(keys, rows, at)
        except Unavailable as error:
            self._failed = error, time.monotonic()
            raise
        self._failed = None
        return stored

    def arrays(self, version: str, features: Features) -> Arrays:
        """The inputs of one model: (N, n) float32 with NaN for missing, (N, m) strings with "" for missing.

        Raises:
            InvalidInput: if an input is neither stored nor computed from the request, or is not a number or not a
                category where it must be.
        """
        source = self._numeric[version]
        numeric = np.empty((features.rows, source.width), dtype=np.float32)
        numeric[:, source.places] = features.stored.numbers[:, source.columns]
        for place, name in source.own:
            numeric[:, place] = number_column(_own(features, name), name)
        source = self._categorical[version]
        categorical = np.empty((features.rows, source.width), dtype=object)
        categorical[:, source.places] = features.stored.texts[:, source.columns]
        for place, name in source.own:
            categorical[:, place] = string_column(_own(features, name), name)
        return numeric, categorical

    def logged(self, version: str, arrays: Arrays) -> list[dict[str, Any]]:
        """The inputs of one model, one dict for each row, by their names in the log; None where missing."""
        labels = [*self._labels[version].values()]
        rows = zip(_or_none(arrays[0]).tolist(), arrays[1].tolist(), strict=True)
        return [dict(zip(labels, [*of, *(text or None for text in texts)], strict=True)) for of, texts in rows]

    def ages(self, features: Features) -> list[dict[str, float | None]]:
        """The age in seconds of each stored input, one dict for each row, by names in the log; None where missing."""
        labels, columns = self._aged
        stored = features.stored
        seconds = np.concatenate([stored.number_seconds, stored.text_seconds], axis=1)[:, columns]
        return [dict(zip(labels, row, strict=True)) for row in _or_none(seconds).tolist()]

    def absences(self, features: Features) -> dict[tuple[str, str], int]:
        """The number of missing and of stale values by (view, MISSING or STALE), where there are any."""
        stored, counts = features.stored, dict[tuple[str, str], int]()
        names = [view.view.name for view in self._reader.views]
        for of_columns, seconds in zip(self._view_of, (stored.number_seconds, stored.text_seconds), strict=True):
            missing = np.isnan(seconds)
            stale = ~missing & stored.stale[:, [names.index(view) for view in of_columns]]
            for kind, hits in ((MISSING, missing.sum(axis=0)), (STALE, stale.sum(axis=0))):
                for place in np.flatnonzero(hits).tolist():
                    counts[of_columns[place], kind] = counts.get((of_columns[place], kind), 0) + int(hits[place])
        return counts


@dataclass(frozen=True)
class Features:
    """The features of N requests: the request's own by name, and the stored ones, if the store answered."""

    rows: int
    own: Columns
    stored: StoredColumns
    has_stored: bool = True

    @property
    def lacks(self) -> list[Lack | None]:
        """For each request why stored values were left out, if any were."""
        if not self.has_stored:
            return [Lack.STORE] * self.rows
        return [Lack.STALE if any(views) else None for views in self.stored.stale.tolist()]


@dataclass(frozen=True)
class _Source:
    """Where the numeric or the categorical inputs of one model are found.

    Attributes:
        width: how many there are.
        own: (place among them, name) of the request's own.
        places, columns: of the stored ones: place among them, and column of what is stored.
    """

    width: int
    own: Sequence[tuple[int, str]]
    places: Sequence[int]
    columns: Sequence[int]

    @classmethod
    def of(cls, names: Sequence[str], refs: Mapping[str, str], stored: Sequence[str]) -> _Source:
        own = [(place, name) for place, name in enumerate(names) if name not in refs]
        places = [place for place, name in enumerate(names) if name in refs]
        return cls(len(names), own, places, [stored.index(refs[names[place]]) for place in places])


def _or_none(numbers: NDArray[np.floating[Any]]) -> NDArray[np.object_]:
    objects = numbers.astype(object)
    objects[np.isnan(numbers)] = None
    return objects


def _own(features: Features, name: str) -> NDArray[Any]:
    if name not in features.own:
        raise InvalidInput(f"input {name} is neither stored nor a feature of the request; declare it")
    return features.own[name]


def logged_names(needs: Sequence[Needs]) -> list[dict[str, str]]:
    """For each model, the name in the log of each of its inputs.

    That is the input's own name, or `view:feature` if models read the name from different views.
    """
    sources: dict[str, set[str]] = {}
    for need in needs:
        for name in (*need.numeric, *need.categorical):
            sources.setdefault(name, set()).add(need.refs.get(name, ""))
    return [
        {
            name: name if len(sources[name]) == 1 else need.refs.get(name, name)
            for name in (*need.numeric, *need.categorical)
        }
        for need in needs
    ]
