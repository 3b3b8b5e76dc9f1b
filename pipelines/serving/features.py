"""The features of a call as arrays: stored ones by one online read for all rows and versions, and the request's own."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.declare.reading import Stored
from pipelines.errors import InvalidInput, Unavailable
from pipelines.graph_inputs import number_column, string_column
from pipelines.instants import micros
from pipelines.online.columns import ColumnReader, StoredColumns, Wanted
from pipelines.params.serving import Serving
from pipelines.records import InputLayout, Lack
from pipelines.request_columns import computed, from_requests, kinds_of
from pipelines.serving.derived import ByList, Derivation, ElementRows, Keys
from pipelines.serving.needs import Needs, logged_names
from pipelines.usecase import Columns, Request, UseCase

if TYPE_CHECKING:
    from feast import FeatureStore

log = logging.getLogger(__name__)
Convert = Callable[[Any, str], NDArray[Any]]  # of a column, by its name in errors
Arrays = tuple[NDArray[np.float32], NDArray[np.object_]]  # numeric and categorical inputs of a model
Rows = slice | list[int]  # of the requests of a run
ALL = slice(None)
MISSING, STALE = "missing", "stale"
AGAIN_AFTER = 1.0  # seconds until a store that failed is tried again


class FeatureLayout:
    """Where the inputs of the models of one routing plan are found: one online read serves them all.

    Args:
        needs: by registered version; at least one.
        rules: what happens where the online store does not answer.
    """

    def __init__(self, store: FeatureStore, usecase: UseCase, needs: Mapping[str, Needs], rules: Serving) -> None:
        self._usecase, self._kinds, self._rules = usecase, kinds_of(usecase), rules
        self._failed: tuple[Unavailable, float] | None = None  # and when, by monotonic time
        recipes = [need.recipe for need in needs.values()]
        self._reader = ColumnReader(store, _wanted([*needs.values()]), rules.store_wait_ms / 1000)
        self._elements = ElementRows(recipes)
        alone = {one.ref for recipe in recipes for one in recipe.stored}.difference(self._reader.numbers)
        self._ingredients = np.flatnonzero(
            [ref in alone for ref in self._reader.exacts]
        )  # including those that are no inputs
        self._derivations = {recipe: Derivation(recipe, self._reader) for recipe in recipes}
        self._alike: dict[tuple[Any, ...], _Source] = {}
        self._sources = {
            version: (self._source(need, need.numeric, 0), self._source(need, need.categorical, 1))
            for version, need in needs.items()
        }
        self.logged, self._logged = self._log_layout(list(needs.values()))

    def _origin(self, need: Needs, name: str) -> InputOrigin:
        derived = name not in need.refs and name in need.recipe.names
        return InputOrigin(name, need.refs.get(name), self._derivations[need.recipe] if derived else None)

    def _source(self, need: Needs, names: Sequence[str], of: int) -> _Source:
        """The source of numeric (`of` 0) or categorical inputs (1)."""
        return self._shared([self._origin(need, name) for name in names], of)

    def _shared(self, origins: Sequence[InputOrigin], of: int) -> _Source:
        """The source of what comes from there, one for all that are alike, so that it is taken once."""
        stored = (self._reader.numbers, self._reader.texts)[of]
        return self._alike.setdefault((of, *origins), _Source(origins, stored))

    def _log_layout(self, needs: Sequence[Needs]) -> tuple[InputLayout, tuple[_Source, _Source]]:
        """The layout of what is logged, every input of every version once, and where its values are found."""
        numbers: dict[str, InputOrigin] = {}  # by label
        texts: dict[str, InputOrigin] = {}
        for need, labels in zip(needs, logged_names(needs), strict=True):
            numbers |= {labels[name]: self._origin(need, name) for name in need.numeric}
            texts |= {labels[name]: self._origin(need, name) for name in need.categorical}
        stored = {label: one.ref for label, one in (numbers | texts).items() if one.ref is not None}
        aged = {label: self._reader.views.index(ref.partition(":")[0]) for label, ref in stored.items()}
        layout = InputLayout((*numbers,), (*texts,), len(self._reader.views), aged)
        return layout, (self._shared([*numbers.values()], 0), self._shared([*texts.values()], 1))

    def read(self, requests: Sequence[Request], at: datetime) -> RequestFeatures:
        """The features of validated requests, with freshness as of `at`.

        Raises:
            InvalidInput: if `request_features`, a list or a stored value is not what is declared.
            Unavailable: if the online store does not answer, and the rules do not say to go on without it.
        """
        rows = len(requests)
        columns = from_requests(self._kinds, requests, at)
        own = {**columns, **computed(self._usecase, columns, rows)}
        lists, at_micros = self._elements.of(own), micros(at)
        keys: Keys = {name: self._key(name, requests, own) for name in self._reader.keys}
        if lists:
            keys = self._elements.keys(keys, lists)
        try:
            stored = self._read_stored(keys, rows + sum(len(one.keys) for one in lists.values()), at_micros)
        except Unavailable as error:
            if self._rules.when_store_fails == "refuse":
                raise
            log.error("%s; scores are on missing values", error)
            return RequestFeatures(rows, own, self._reader.nothing(rows), has_stored=False)
        if not lists:
            return RequestFeatures(rows, own, stored)
        of_requests, elements = self._elements.split(stored, rows, lists)
        return RequestFeatures(rows, own, of_requests, elements=elements)

    def _key(self, name: str, requests: Sequence[Request], own: Columns) -> Sequence[Any]:
        if name in self._usecase.request_keys:
            return own[name].tolist()  # type: ignore[no-any-return]
        if name in self._kinds:
            return [request[name] for request in requests]
        return [None] * len(requests)  # a key of elements alone

    def _read_stored(self, keys: Keys, rows: int, at: int) -> StoredColumns:
        """Read the store, but not just after it failed, so that calls do not wait one after the other."""
        if self._failed and time.monotonic() - self._failed[1] < AGAIN_AFTER:
            raise self._failed[0]
        try:
            stored = self._reader.read(keys, rows, at)
        except Unavailable as error:
            self._failed = error, time.monotonic()
            raise
        self._failed = None
        return stored

    def arrays(self, version: str, features: RequestFeatures) -> Arrays:
        """The inputs of one model: (N, n) float32 with NaN for missing, (N, m) strings with "" for missing.

        Raises:
            InvalidInput: if an input is neither stored nor computed from the request, or is not a number or not a
                category where it must be.
        """
        numbers, texts = self._sources[version]
        return numbers.numbers(features), texts.texts(features)

    def encode(self, features: RequestFeatures) -> list[bytes]:
        """What is logged of each request, in the layout `logged`.

        Raises:
            InvalidInput: as `arrays`.
        """
        numbers, texts = self._logged
        return self.logged.encode(numbers.numbers(features), texts.texts(features), features.stored.seconds)

    def absences(self, features: RequestFeatures, of: Rows = ALL) -> dict[tuple[str, str], int]:
        """The number of missing and of stale values by (view, MISSING or STALE), where some requests have any."""
        stored, reader = features.stored, self._reader
        is_stale = stored.stale[of]
        stale = is_stale.sum(axis=0)
        counts = {MISSING: stored.missing[of].sum(axis=0), STALE: stale * reader.widths}
        if len(self._ingredients):
            view = reader.exact_view[self._ingredients]
            is_absent = np.isnan(stored.exacts[of][:, self._ingredients]) & ~is_stale[:, view]
            counts[MISSING] = counts[MISSING] + np.bincount(view, is_absent.sum(axis=0), len(reader.views))
            counts[STALE] = counts[STALE] + stale * np.bincount(view, minlength=len(reader.views))
        return {
            (reader.views[view], kind): int(of_views[view])
            for kind, of_views in counts.items()
            for view in of_views.nonzero()[0].tolist()
        }


@dataclass(frozen=True)
class RequestFeatures:
    """The features of N requests: the request's own by name, and the stored ones, if the store answered."""

    rows: int
    own: Columns
    stored: StoredColumns
    has_stored: bool = True
    elements: ByList = field(default_factory=dict)
    taken: dict[_Source, NDArray[Any]] = field(default_factory=dict)
    _converted: dict[tuple[str, Convert, Derivation | None], NDArray[Any]] = field(default_factory=dict)
    _derived: dict[Derivation, Columns] = field(default_factory=dict)

    def own_column(self, name: str, convert: Convert, derivation: Derivation | None) -> NDArray[Any]:
        """A feature of the request, or a derived one, as a model's input.

        Raises:
            InvalidInput: if there is none, or it cannot be computed or converted.
        """
        if (name, convert, derivation) not in self._converted:
            columns = self._derive(derivation) if derivation else self.own
            if name not in columns:
                raise InvalidInput(f"input {name} is neither stored nor a feature of the request; declare it")
            self._converted[name, convert, derivation] = convert(columns[name], name)
        return self._converted[name, convert, derivation]

    def _derive(self, derivation: Derivation) -> Columns:
        if derivation not in self._derived:
            self._derived[derivation] = derivation.columns(self.own, self.stored, self.elements)
        return self._derived[derivation]

    @property
    def lacks(self) -> list[Lack | None]:
        """For each request, why stored values were left out, if any were."""
        if not self.has_stored:
            return [Lack.STORE] * self.rows
        return [Lack.STALE if any(views) else None for views in self.stored.stale.tolist()]


class InputOrigin(NamedTuple):
    """Where an input comes from: the online store (`view:feature`), a derivation, or else the request."""

    name: str
    ref: str | None
    derivation: Derivation | None


class _Source:
    """Where numeric or categorical inputs are found, those of one model or those of the log.

    Attributes:
        own: (place among them, name, derivation) of those that are not stored.
        columns: of what is stored, one for each; any for the others.
    """

    def __init__(self, origins: Sequence[InputOrigin], stored: Sequence[str]) -> None:
        self.own = [(place, one.name, one.derivation) for place, one in enumerate(origins) if one.ref is None]
        columns = [-1 if one.ref is None else stored.index(one.ref) for one in origins]
        self.columns = np.array(columns, dtype=np.intp)

    def numbers(self, features: RequestFeatures) -> NDArray[np.float32]:
        return self._take(features, features.stored.numbers, number_column)

    def texts(self, features: RequestFeatures) -> NDArray[np.object_]:
        return self._take(features, features.stored.texts, string_column)

    def _take(self, features: RequestFeatures, stored: NDArray[Any], convert: Convert) -> NDArray[Any]:
        taken = features.taken.get(self)  # by another version, or for the log
        if taken is not None:
            return taken
        if stored.shape[1]:
            values = stored.take(self.columns, axis=1)
        else:
            values = np.empty((features.rows, len(self.columns)), dtype=stored.dtype)
        for place, name, derivation in self.own:
            values[:, place] = features.own_column(name, convert, derivation)
        features.taken[self] = values
        return values


def _wanted(needs: Sequence[Needs]) -> list[Wanted]:
    """The features read from each view, in the order of view names: every feature of any version, each once."""
    views: dict[str, tuple[dict[str, None], dict[str, None], dict[str, None]]] = {}  # numbers, texts, exact numbers

    def want(ref: str, kind: int) -> None:
        view, _, feature = ref.partition(":")
        views.setdefault(view, ({}, {}, {}))[kind][feature] = None

    for need in needs:
        for names, kind in ((need.numeric, 0), (need.categorical, 1)):
            for name in names:
                if name in need.refs:
                    want(need.refs[name], kind)
        for one in need.recipe.stored:
            want(one.ref, 1 if one.kind is Stored.TEXT else 2)
        for _, one in need.recipe.each:
            want(one.ref, 2)
    ttls = {view: ttl for need in needs for view, ttl in need.ttls.items()}
    return [Wanted(view, (*of[0],), (*of[1],), ttls[view], (*of[2],)) for view, of in sorted(views.items())]
