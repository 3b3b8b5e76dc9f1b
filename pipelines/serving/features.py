"""The features of a call as arrays: stored ones by one online read for all rows and versions, and the request's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.errors import InvalidInput
from pipelines.graph_inputs import number_column, string_column
from pipelines.online import read_online
from pipelines.usecase import PREDICTED_AT, ModelInputs, Request, UseCase

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


@dataclass(frozen=True)
class StoredValue:
    """One stored value of one row; None if it was missing or stale. `age` is None if it was missing."""

    value: Any
    age: timedelta | None


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


def read_stored(
    store: FeatureStore, needs: Sequence[Needs], requests: Sequence[Request], at: datetime
) -> list[dict[str, StoredValue]]:
    """For each request, the stored values of all models by `view:feature`, with freshness as of `at`.

    One online read, or more if models read features of the same name from different views.
    """
    ttls = {view: ttl for need in needs for view, ttl in need.ttls.items()}
    keys = {view: of_view for need in needs for view, of_view in need.keys.items()}
    entities = _entities(sorted({key for of_view in keys.values() for key in of_view}), requests)
    readable = {view for view, of_view in keys.items() if all(key in entities[0] for key in of_view)}
    nothing = StoredValue(None, None)
    rows = [{ref: nothing for need in needs for ref in need.refs.values()} for _ in requests]
    for refs in _reads(needs, readable):
        for row, request, answer in zip(rows, requests, read_online(store, refs, entities, at, ttls), strict=True):
            for ref in refs:
                view, name = ref.split(":")
                if all(request[key] is not None for key in keys[view]):
                    row[ref] = StoredValue(answer.values[name], answer.ages[name])
    return rows


def _entities(keys: Sequence[str], requests: Sequence[Request]) -> list[dict[str, Any]]:
    """The entity rows. Feast accepts no empty key, so an empty one is replaced by another row's, if there is one."""
    anyone = {key: next((r[key] for r in requests if r[key] is not None), None) for key in keys}
    available = [key for key in keys if anyone[key] is not None]
    return [{key: anyone[key] if request[key] is None else request[key] for key in available} for request in requests]


def _reads(needs: Sequence[Needs], views: set[str]) -> list[list[str]]:
    """The references to these views in as few reads as possible; in one read every feature name is unique."""
    reads: list[dict[str, str]] = []
    every = {(name, ref) for need in needs for name, ref in need.refs.items() if ref.split(":")[0] in views}
    for name, ref in sorted(every):
        room = next((read for read in reads if name not in read), None)
        if room is None:
            reads.append(room := {})
        room[name] = ref
    return [list(read.values()) for read in reads]


def with_keys(usecase: UseCase, requests: Sequence[Request], own: pd.DataFrame) -> list[Request]:
    """The requests with the entity keys that `request_frame` computed."""
    keys = {name: own[name].tolist() for name in usecase.request_keys}
    return [{**request, **{name: of[n] for name, of in keys.items()}} for n, request in enumerate(requests)]


def request_frame(usecase: UseCase, requests: Sequence[Request], at: datetime) -> pd.DataFrame:
    """The requests as a frame like the examples of training, with the features that depend on the request alone."""
    frame = pd.DataFrame({name: [request[name] for request in requests] for name in usecase.request_columns})
    return usecase.request_features(frame.assign(**{PREDICTED_AT: pd.Timestamp(at)}))


def model_arrays(needs: Needs, own: pd.DataFrame, stored: Sequence[Mapping[str, StoredValue]]) -> Arrays:
    """The inputs of one model: (N, n) float32 with NaN for missing, (N, m) strings with "" for missing.

    Raises:
        InvalidInput: if an input is neither stored nor computed from the request, or is not a number or not a category
            where it must be.
    """
    numeric = np.empty((len(own), len(needs.numeric)), dtype=np.float32)
    for position, name in enumerate(needs.numeric):
        numeric[:, position] = number_column(_values(needs, name, own, stored), name)
    categorical = np.empty((len(own), len(needs.categorical)), dtype=object)
    for position, name in enumerate(needs.categorical):
        categorical[:, position] = string_column(_values(needs, name, own, stored), name)
    return numeric, categorical


def _values(needs: Needs, name: str, own: pd.DataFrame, stored: Sequence[Mapping[str, StoredValue]]) -> Sequence[Any]:
    if name in needs.refs:
        return [row[needs.refs[name]].value for row in stored]
    if name not in own.columns:
        raise InvalidInput(f"input {name} is neither stored nor a feature of the request; declare it")
    return own[name].tolist()


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


def logged_values(names: Mapping[str, str], needs: Needs, arrays: Arrays) -> list[dict[str, Any]]:
    """The inputs of a model, one dict for each row, by their names in the log; None where missing."""
    labels = [names[name] for name in (*needs.numeric, *needs.categorical)]
    rows = zip(arrays[0].tolist(), arrays[1].tolist(), strict=True)
    return [
        dict(zip(labels, [*(None if v != v else v for v in numbers), *(v or None for v in strings)], strict=True))
        for numbers, strings in rows
    ]


def absences(stored: Sequence[Mapping[str, StoredValue]]) -> dict[tuple[str, str], int]:
    """The number of missing and of stale values by (view, MISSING or STALE)."""
    counts: dict[tuple[str, str], int] = {}
    for row in stored:
        for ref, value in row.items():
            if value.value is None:
                kind = (ref.split(":")[0], MISSING if value.age is None else STALE)
                counts[kind] = counts.get(kind, 0) + 1
    return counts
