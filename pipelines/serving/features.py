"""The features of a call as arrays: stored ones by one online read for all rows and versions, and the request's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import InvalidInput
from pipelines.graph_inputs import number_column, string_column
from pipelines.instants import micros
from pipelines.online.columns import CachedView, ColumnReader, ViewColumns
from pipelines.request_columns import computed, from_requests, kinds_of
from pipelines.usecase import Columns, ModelInputs, Request, UseCase

if TYPE_CHECKING:
    from feast import FeatureStore

Arrays = tuple[NDArray[np.float32], NDArray[np.object_]]  # numeric and categorical inputs of a model
MISSING, STALE = "missing", "stale"


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
    """

    def __init__(self, store: FeatureStore, usecase: UseCase, needs: Mapping[str, Needs]) -> None:
        self._usecase, self._kinds = usecase, kinds_of(usecase)
        self.needs = dict(needs)
        views: dict[str, tuple[dict[str, None], dict[str, None]]] = {}  # numbers and categories, each once, in order
        for need in needs.values():
            for names, of in ((need.numeric, 0), (need.categorical, 1)):
                for name in names:
                    if name in need.refs:
                        view, _, feature = need.refs[name].partition(":")
                        views.setdefault(view, ({}, {}))[of][feature] = None
        ttls = {view: ttl for need in needs.values() for view, ttl in need.ttls.items()}
        cached = [CachedView(store, view, [*of[0]], [*of[1]], ttls[view]) for view, of in sorted(views.items())]
        self._reader = ColumnReader(store, cached)
        self._views = {view.view.name: number for number, view in enumerate(cached)}
        self._sources = {version: _Sources.of(need, cached, self._views) for version, need in needs.items()}
        self.labels = dict(zip(needs, logged_names(list(needs.values())), strict=True))

    def read(self, requests: Sequence[Request], at: datetime) -> Features:
        """The features of validated requests, with freshness as of `at`.

        Raises:
            InvalidInput: if `request_features`, or a stored value, is not what is declared.
        """
        columns = from_requests(self._kinds, requests, at)
        own = {**columns, **computed(self._usecase, columns, len(requests))}
        keys: dict[str, list[Any]] = {name: own[name].tolist() for name in self._usecase.request_keys}
        keys = {name: [request[name] for request in requests] for name in self._usecase.request_columns} | keys
        return Features(len(requests), own, self._reader.read(keys, len(requests), micros(at)))

    def arrays(self, version: str, features: Features) -> Arrays:
        """The inputs of one model: (N, n) float32 with NaN for missing, (N, m) strings with "" for missing.

        Raises:
            InvalidInput: if an input is neither stored nor computed from the request, or is not a number or not a
                category where it must be.
        """
        sources = self._sources[version]
        numeric = np.empty((features.rows, sources.numeric), dtype=np.float32)
        categorical = np.empty((features.rows, sources.categorical), dtype=object)
        for place, name in sources.own_numbers:
            numeric[:, place] = number_column(_own(features, name), name)
        for place, name in sources.own_texts:
            categorical[:, place] = string_column(_own(features, name), name)
        for view, places, columns in sources.numbers:
            numeric[:, places] = features.stored[view].numbers[:, columns]
        for view, places, columns in sources.texts:
            categorical[:, places] = features.stored[view].texts[:, columns]
        return numeric, categorical

    def logged(self, version: str, arrays: Arrays) -> list[dict[str, Any]]:
        """The inputs of one model, one dict for each row, by their names in the log; None where missing."""
        labels = [*self.labels[version].values()]
        rows = zip(_or_none(arrays[0]).tolist(), arrays[1].tolist(), strict=True)
        return [dict(zip(labels, [*of, *(text or None for text in texts)], strict=True)) for of, texts in rows]

    def ages(self, features: Features) -> list[dict[str, float | None]]:
        """The age in seconds of each stored input, one dict for each row, by names in the log; None where missing."""
        labels: list[str] = []
        parts: list[NDArray[np.object_]] = []
        for version, need in self.needs.items():
            for name, ref in need.refs.items():
                view, _, feature = ref.partition(":")
                cached = self._reader.views[self._views[view]]
                seconds = features.stored[self._views[view]].seconds[:, (*cached.numbers, *cached.texts).index(feature)]
                labels.append(self.labels[version][name])
                parts.append(_or_none(seconds))
        rows = zip(*(part.tolist() for part in parts), strict=True) if parts else [()] * features.rows
        return [dict(zip(labels, row, strict=True)) for row in rows]

    def absences(self, features: Features) -> dict[tuple[str, str], int]:
        """The number of missing and of stale values by (view, MISSING or STALE), where there are any."""
        counts: dict[tuple[str, str], int] = {}
        for view, stored in zip(self._reader.views, features.stored, strict=True):
            missing = np.isnan(stored.seconds)
            counts[view.view.name, MISSING] = int(missing.sum())
            counts[view.view.name, STALE] = int((~missing[stored.stale]).sum())
        return {kind: count for kind, count in counts.items() if count}


@dataclass(frozen=True)
class Features:
    """The features of N requests: the request's own by name, and the stored ones by view."""

    rows: int
    own: Columns
    stored: Sequence[ViewColumns]


@dataclass(frozen=True)
class _Sources:
    """Where each input of one model is found, by its place among them.

    Attributes:
        numeric, categorical: how many there are.
        own_numbers, own_texts: (place, name) of the request's own.
        numbers, texts: (view, places, columns of the view) of the stored ones.
    """

    numeric: int
    categorical: int
    own_numbers: Sequence[tuple[int, str]]
    own_texts: Sequence[tuple[int, str]]
    numbers: Sequence[tuple[int, list[int], list[int]]]
    texts: Sequence[tuple[int, list[int], list[int]]]

    @classmethod
    def of(cls, need: Needs, views: Sequence[CachedView], numbers: Mapping[str, int]) -> _Sources:
        own: dict[str, list[tuple[int, str]]] = {"numeric": [], "categorical": []}
        stored: dict[str, dict[int, tuple[list[int], list[int]]]] = {"numeric": {}, "categorical": {}}
        for kind, names in (("numeric", need.numeric), ("categorical", need.categorical)):
            for place, name in enumerate(names):
                if name not in need.refs:
                    own[kind].append((place, name))
                    continue
                view, _, feature = need.refs[name].partition(":")
                has = views[numbers[view]].numbers if kind == "numeric" else views[numbers[view]].texts
                places, columns = stored[kind].setdefault(numbers[view], ([], []))
                places.append(place)
                columns.append(has.index(feature))
        flat = {kind: [(view, *lists) for view, lists in of.items()] for kind, of in stored.items()}
        return cls(
            len(need.numeric),
            len(need.categorical),
            own["numeric"],
            own["categorical"],
            flat["numeric"],
            flat["categorical"],
        )


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
