"""What a model's derived inputs read, and how they are computed: the same in training and serving."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pipelines.declare.derived import Derived, Each, derived_of
from pipelines.errors import InvalidInput

if TYPE_CHECKING:
    import numpy as np
    from feast import FeatureStore
    from numpy.typing import NDArray

    from pipelines.usecase import Columns, UseCase

NUMBERS = frozenset(("FLOAT", "DOUBLE", "INT32", "INT64", "BOOL"))  # types of Feast


class Stored(Enum):
    """The form of stored features for derived ones: float64 with NaN, datetime64[us] with NaT, or objects with None."""

    NUMBER = "number"
    INSTANT = "instant"
    TEXT = "text"


@dataclass(frozen=True)
class StoredFeature:
    """A feature that a feature service names.

    Attributes:
        keys: the join keys of its view.
    """

    view: str
    name: str
    kind: Stored
    keys: tuple[str, ...]

    @property
    def ref(self) -> str:
        return f"{self.view}:{self.name}"


def stored_features(store: FeatureStore, service: str) -> tuple[StoredFeature, ...]:
    """The features that a service names, in its order.

    Raises:
        InvalidInput: if the service is not registered.
    """
    from feast.errors import FeatureServiceNotFoundException  # here: Feast takes seconds and 400 MB to import
    from feast.feature_view import DUMMY_ENTITY_ID

    try:
        projections = store.get_feature_service(service).feature_view_projections
    except FeatureServiceNotFoundException:
        raise InvalidInput(f"feature service {service!r} is not registered; run apply_features first") from None
    return tuple(
        StoredFeature(view.name, field.name, _kind(field.dtype.to_value_type().name), keys)
        for view in projections
        for keys in [tuple(key for key in store.get_feature_view(view.name).join_keys if key != DUMMY_ENTITY_ID)]
        for field in view.features
    )


def _kind(feast_type: str) -> Stored:
    if feast_type in NUMBERS:
        return Stored.NUMBER
    return Stored.INSTANT if feast_type == "UNIX_TIMESTAMP" else Stored.TEXT


def of_requests(usecase: UseCase, features: Iterable[StoredFeature]) -> dict[str, StoredFeature]:
    """By name, the features whose keys a request has; others are read only for the elements of its lists."""
    keys = {one.key for one in derived_of(usecase) if isinstance(one, Each)}
    keys -= {*usecase.request_columns, *usecase.request_keys}
    return {feature.name: feature for feature in features if not keys.intersection(feature.keys)}


@dataclass(frozen=True)
class Recipe:
    """How the derived inputs of one model are computed.

    Attributes:
        steps: in order.
        stored: what they read of the request's own entities.
        each: what is read for the elements of lists.
    """

    steps: tuple[Derived, ...] = ()
    stored: tuple[StoredFeature, ...] = ()
    each: tuple[tuple[Each, StoredFeature], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all derived inputs."""
        return tuple(name for step in self.steps for name in step.names)

    @cached_property
    def lists(self) -> tuple[tuple[str, str], ...]:
        """The lists whose elements are read, each once: (column of the request, key)."""
        return tuple(dict.fromkeys((one.of, one.key) for one, _ in self.each))

    def refs_of(self, name: str) -> tuple[str, ...]:
        """The stored features from which one of its features is computed."""
        refs = {one.name: one.ref for one in self.stored} | {one.elements: feature.ref for one, feature in self.each}
        step = next((step for step in self.steps if name in step.names), None)
        if step is None:
            return (refs[name],) if name in refs else ()
        return tuple(sorted({ref for read in step.reads for ref in self.refs_of(read)}))

    def require(self, own: Iterable[str]) -> None:
        """Check that every column exists, given the names of the request's own.

        Raises:
            InvalidInput: naming the first that is not.
        """
        known = {*own, *(one.name for one in self.stored), *(one.elements for one, _ in self.each)}
        for step in self.steps:
            reads = (*step.reads, step.of) if isinstance(step, Each) else step.reads
            if lacking := sorted({*reads} - known):
                raise InvalidInput(
                    f"derived {', '.join(step.names)} reads {', '.join(lacking)}, which is neither of the request, nor "
                    "in the feature service, nor derived before it; add it to the service, or correct the name"
                )
            known |= {*step.names}

    def compute(self, columns: Columns, rows: int) -> Columns:
        """What it gives of the columns of so many requests.

        Args:
            columns: all that `require` names; others are not looked at.

        Raises:
            InvalidInput: if a column is not there or of another type, or a function gives something else than it says.
        """
        import numpy as np

        known = {**columns}
        self.require(known)
        with np.errstate(all="ignore"):  # what is no number becomes NaN
            for step in self.steps:
                try:
                    made = step.values({name: known[name] for name in step.reads})
                except InvalidInput as error:
                    raise InvalidInput(f"derived {', '.join(step.names)}: {error}") from None
                _require_shapes(step, made, rows)
                known |= made
        return {name: known[name] for name in self.names}


def _require_shapes(step: Derived, made: Columns, rows: int) -> None:
    shapes = {name: getattr(values, "shape", None) for name, values in made.items()}
    if shapes != dict.fromkeys(step.names, (rows,)):
        raise InvalidInput(
            f"derived {', '.join(step.names)} gives {shapes or 'nothing'}; it must give for each of these names "
            f"an array of a value for each of the {rows} requests"
        )


def recipe_of(usecase: UseCase, names: Sequence[str], features: Sequence[StoredFeature], service: str) -> Recipe:
    """The recipe of a model's derived inputs; empty where it has none.

    Args:
        features: those of its feature service.

    Raises:
        InvalidInput: if one of several features that are derived together is stored, too, a list's feature is not
            stored under its key, or is no number, or a request lacks another key of it.
    """
    plain = of_requests(usecase, features)
    wanted, steps = (
        {*names} - plain.keys(),
        list[Derived](),
    )  # a feature that an older service stores is read from the store
    for one in reversed(derived_of(usecase)):
        if wanted.intersection(one.names):
            steps.insert(0, one)
            wanted |= {*one.reads} - plain.keys()
    given = {name for step in steps for name in step.names}
    if twice := sorted(given & plain.keys()):
        raise InvalidInput(f"derived {', '.join(twice)} is a feature of {service}, too; give it another name")
    reads = dict.fromkeys(name for step in steps for name in step.reads if name in plain)
    for one in steps:
        if isinstance(one, Each) and one.of not in usecase.request_columns:
            raise InvalidInput(f"derived {one.name} reads the list {one.of}, which is none of the request_columns")
    each = tuple((one, _of_elements(one, features, service)) for one in steps if isinstance(one, Each))
    beside = {key for one, feature in each for key in feature.keys if key != one.key}
    if lacking := beside - {*usecase.request_columns, *usecase.request_keys}:
        raise InvalidInput(
            f"requests lack the keys {sorted(lacking)} of {service}; add them to request_columns or request_keys"
        )
    return Recipe(tuple(steps), tuple(plain[name] for name in reads), each)


def _of_elements(one: Each, features: Sequence[StoredFeature], service: str) -> StoredFeature:
    """The stored feature that is read for each element."""
    found = [feature for feature in features if feature.name == one.feature and one.key in feature.keys]
    if not found:
        raise InvalidInput(
            f"derived {one.name} reads {one.feature} by {one.key}, and no view of {service} with that key has it; add "
            "it to the service"
        )
    if found[0].kind is not Stored.NUMBER:
        raise InvalidInput(f"derived {one.name}: {found[0].ref} is no number; choose a feature that is")
    return found[0]


@dataclass(frozen=True)
class Elements:
    """The elements of N lists, one list after the other, without those that are None.

    Attributes:
        keys: (M,)
        rows: (M,) the list of each.
        there: (N,) whether there is a list.
    """

    keys: Sequence[Any]
    rows: NDArray[np.intp]
    there: NDArray[np.bool_]

    @classmethod
    def of(cls, lists: NDArray[Any], name: str) -> Elements:
        """The elements of a column of the request.

        Raises:
            InvalidInput: if a value is no list, or an element no text or whole number.
        """
        import numpy as np

        keys, sizes = list[Any](), list[int]()
        for value in lists:
            if value is not None and not isinstance(value, list | tuple):
                raise InvalidInput(f"{name}: {value!r} is no list; declare it as one in the request model")
            there = [key for key in value or () if key is not None]
            keys += there
            sizes.append(len(there))
        for key in keys:
            if not isinstance(key, str | bytes | int) or isinstance(key, bool):
                raise InvalidInput(f"{name}: {key!r} in a list is no key; let it be a text or a whole number")
        rows = np.repeat(np.arange(len(sizes)), sizes)
        return cls(keys, rows, np.array([value is not None for value in lists], dtype=bool))

    def split(self, values: NDArray[np.float64]) -> NDArray[np.object_]:
        """(M,) values of the elements as a column: one array for each list, None where there is no list."""
        import numpy as np

        ends = np.searchsorted(self.rows, np.arange(len(self.there)), side="right")
        column = np.empty(len(self.there), dtype=object)
        for row, (there, last) in enumerate(zip(self.there.tolist(), ends.tolist(), strict=True)):
            column[row] = values[ends[row - 1] if row else 0 : last] if there else None
        return column
