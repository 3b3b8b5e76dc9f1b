"""The features of a call as arrays: stored ones by one online read for all rows and versions, and the request's own."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import InvalidInput, Unavailable
from pipelines.graph_inputs import number_column, string_column
from pipelines.instants import micros
from pipelines.online.columns import ColumnReader, StoredColumns, Wanted
from pipelines.params.serving import Serving
from pipelines.records import InputLayout, Lack
from pipelines.request_columns import computed, from_requests, kinds_of
from pipelines.usecase import Columns, ModelInputs, Request, UseCase

if TYPE_CHECKING:
    from feast import FeatureStore

log = logging.getLogger(__name__)
Convert = Callable[[Any, str], NDArray[Any]]  # of a column, by its name in errors
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
        wanted = [Wanted(view, (*of[0],), (*of[1],), ttls[view]) for view, of in sorted(views.items())]
        self._reader = ColumnReader(store, wanted, rules.store_wait_ms / 1000)
        refs = (self._reader.numbers, self._reader.texts)
        self._sources = {
            version: (_Source.of(need.numeric, need.refs, refs[0]), _Source.of(need.categorical, need.refs, refs[1]))
            for version, need in needs.items()
        }
        self.logged, self._logged = self._log_layout(list(needs.values()))

    def _log_layout(self, needs: Sequence[Needs]) -> tuple[InputLayout, tuple[_Source, _Source]]:
        """The layout of what is logged, every input of every version once, and where its values are found."""
        labels = logged_names(needs)
        stored: dict[str, str] = {}
        names: tuple[dict[str, str], dict[str, str]] = ({}, {})  # of numbers and categories, by label
        for need, of_model in zip(needs, labels, strict=True):
            for inputs, of in ((need.numeric, 0), (need.categorical, 1)):
                names[of].update({of_model[name]: name for name in inputs})
            stored |= {of_model[name]: ref for name, ref in need.refs.items()}
        aged = {label: self._reader.views.index(ref.partition(":")[0]) for label, ref in stored.items()}
        layout = InputLayout((*names[0],), (*names[1],), len(self._reader.views), aged)
        refs = (self._reader.numbers, self._reader.texts)
        numbers, texts = (_Source.of([*of], stored, ref, of) for of, ref in zip(names, refs, strict=True))
        return layout, (numbers, texts)

    def read(self, requests: Sequence[Request], at: datetime) -> Features:
        """The features of validated requests, with freshness as of `at`.

        Raises:
            InvalidInput: if `request_features`, or a stored value, is not what is declared.
            Unavailable: if the online store does not answer, and the rules do not say to go on without it.
        """
        rows = len(requests)
        columns = from_requests(self._kinds, requests, at)
        own = {**columns, **computed(self._usecase, columns, rows)}
        keys = {
            name: own[name].tolist() if name in self._usecase.request_keys else [request[name] for request in requests]
            for name in self._reader.keys
        }
        try:
            return Features(rows, own, self._read_stored(keys, rows, micros(at)))
        except Unavailable as error:
            if self._rules.when_store_fails == "refuse":
                raise
            log.error("%s; scores are on missing values", error)
            return Features(rows, own, self._reader.nothing(rows), has_stored=False)

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
        numbers, texts = self._sources[version]
        return numbers.numbers(features), texts.texts(features)

    def encode(self, features: Features) -> list[bytes]:
        """What is logged of each request, in the layout `logged`.

        Raises:
            InvalidInput: as `arrays`.
        """
        numbers, texts = self._logged
        return self.logged.encode(numbers.numbers(features), texts.texts(features), features.stored.seconds)

    def absences(self, features: Features) -> dict[tuple[str, str], int]:
        """The number of missing and of stale values by (view, MISSING or STALE), where there are any."""
        stored, (numbers, texts) = features.stored, self._of_views
        is_stale, some = stored.stale, bool(stored.stale.any())
        no_number, no_text = np.isnan(stored.numbers), stored.texts == ""
        if some:
            no_number &= ~is_stale[:, self._reader.number_view]
            no_text &= ~is_stale[:, self._reader.text_view]
        counts = {MISSING: no_number.sum(axis=0) @ numbers + no_text.sum(axis=0) @ texts}
        if some:
            counts[STALE] = is_stale.sum(axis=0) * (numbers.sum(axis=0) + texts.sum(axis=0))
        return {
            (self._reader.views[view], kind): int(of_views[view])
            for kind, of_views in counts.items()
            for view in of_views.nonzero()[0].tolist()
        }

    @cached_property
    def _of_views(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """(n, views) and (m, views): which stored numbers, and which categories, are of each view."""
        views = np.arange(len(self._reader.views))
        return (
            (self._reader.number_view[:, None] == views).astype(np.intp),
            (self._reader.text_view[:, None] == views).astype(np.intp),
        )


@dataclass(frozen=True)
class Features:
    """The features of N requests: the request's own by name, and the stored ones, if the store answered."""

    rows: int
    own: Columns
    stored: StoredColumns
    has_stored: bool = True
    taken: dict[tuple[_Source, Convert], NDArray[Any]] = field(default_factory=dict)
    _converted: dict[tuple[str, Convert], NDArray[Any]] = field(default_factory=dict)

    def own_column(self, name: str, convert: Convert) -> NDArray[Any]:
        """A feature of the request as a model's input.

        Raises:
            InvalidInput: if there is none, or it cannot be converted.
        """
        if (name, convert) not in self._converted:
            if name not in self.own:
                raise InvalidInput(f"input {name} is neither stored nor a feature of the request; declare it")
            self._converted[name, convert] = convert(self.own[name], name)
        return self._converted[name, convert]

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
        own: (place among them, name) of the request's own.
        columns: of what is stored, one for each; any for the request's own.
    """

    own: tuple[tuple[int, str], ...]
    columns: tuple[int, ...]

    @classmethod
    def of(
        cls,
        labels: Sequence[str],
        refs: Mapping[str, str],
        stored: Sequence[str],
        names: Mapping[str, str] | None = None,
    ) -> _Source:
        """The source of inputs with these labels; `names` are those of the request's own, where they differ."""
        own = tuple((place, (names or {}).get(name, name)) for place, name in enumerate(labels) if name not in refs)
        return cls(own, tuple(stored.index(refs[name]) if name in refs else -1 for name in labels))

    @cached_property
    def _columns(self) -> NDArray[np.intp]:
        return np.array(self.columns, dtype=np.intp)

    def numbers(self, features: Features) -> NDArray[np.float32]:
        return self._take(features, features.stored.numbers, number_column)

    def texts(self, features: Features) -> NDArray[np.object_]:
        return self._take(features, features.stored.texts, string_column)

    def _take(self, features: Features, stored: NDArray[Any], convert: Convert) -> NDArray[Any]:
        if (self, convert) in features.taken:  # by another version, or for the log
            return features.taken[self, convert]
        if stored.shape[1]:
            values = stored.take(self._columns, axis=1)
        else:
            values = np.empty((features.rows, len(self.columns)), dtype=stored.dtype)
        for place, name in self.own:
            values[:, place] = features.own_column(name, convert)
        features.taken[self, convert] = values
        return values


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
