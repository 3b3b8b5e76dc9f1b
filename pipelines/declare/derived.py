"""Features that are computed from the request and stored features together, by one function in training and serving.

A use case lists them in `derived`. Columns are (N,) arrays, a value for each request: numbers (float64 where they are
stored or sent; missing is NaN), instants (datetime64[us] in UTC; NaT) or texts (objects; None).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

from pipelines.errors import InvalidInput

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipelines.usecase import Columns, UseCase

    Numbers = NDArray[np.float64]

Reduction = Literal["mean", "max", "min", "sum", "count"]


class Derived(Protocol):
    """A declaration of derived features; frozen and hashable. Each row's values depend on that row alone."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the derived features."""

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns that it needs: sent, computed by `request_features`, stored, or derived earlier."""

    def values(self, columns: Columns) -> Columns:
        """By name, (N,) each: numbers with NaN, or texts as objects with None.

        Raises:
            InvalidInput: if a column has another type than it needs.
        """


def derived_of(usecase: UseCase) -> tuple[Derived, ...]:
    """The derived features that a use case declares, in order; none by default."""
    return tuple(getattr(usecase, "derived", ()))


@dataclass(frozen=True)
class _Named:
    """A declaration that gives one feature."""

    name: str

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)


@dataclass(frozen=True)
class Difference(_Named):
    """`minuend` minus `subtrahend`: of numbers, or of instants in multiples of `unit`.

    `Difference("days", PREDICTED_AT, "last_order_at", unit=timedelta(days=1))` is 1.5 a day and a half after it.
    """

    minuend: str
    subtrahend: str
    unit: timedelta | None = None

    def __post_init__(self) -> None:
        if self.unit is not None and self.unit <= timedelta(0):
            raise InvalidInput(f"derived {self.name}: the unit is {self.unit}; give a length of time above 0")

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.minuend, self.subtrahend)

    def values(self, columns: Columns) -> Columns:
        import numpy as np

        if self.unit is None:
            return {self.name: _numbers(columns, self.minuend) - _numbers(columns, self.subtrahend)}
        apart = _instants(columns, self.minuend) - _instants(columns, self.subtrahend)
        return {self.name: apart / np.timedelta64(self.unit)}  # NaT becomes NaN


@dataclass(frozen=True)
class Ratio(_Named):
    """`numerator` by `denominator`; missing where the denominator is 0."""

    numerator: str
    denominator: str

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.numerator, self.denominator)

    def values(self, columns: Columns) -> Columns:
        import numpy as np

        below = _numbers(columns, self.denominator)
        return {self.name: _numbers(columns, self.numerator) / np.where(below == 0, np.nan, below)}


@dataclass(frozen=True)
class Log(_Named):
    """The natural logarithm of 1 + `of`; missing at -1 and below."""

    of: str

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.of,)

    def values(self, columns: Columns) -> Columns:
        import numpy as np

        numbers = _numbers(columns, self.of)
        return {self.name: np.log1p(np.where(numbers > -1, numbers, np.nan))}


@dataclass(frozen=True)
class Bins(_Named):
    """The number of edges that are not above `of`: 0 below the first, `len(edges)` from the last on."""

    of: str
    edges: tuple[float, ...]

    def __post_init__(self) -> None:
        finite = bool(self.edges) and all(map(math.isfinite, self.edges))
        if not finite or any(a >= b for a, b in pairwise(self.edges)):
            raise InvalidInput(f"derived {self.name}: the edges are {self.edges}; give one or more, in ascending order")

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.of,)

    def values(self, columns: Columns) -> Columns:
        import numpy as np

        numbers = _numbers(columns, self.of)
        return {self.name: np.where(np.isnan(numbers), np.nan, np.searchsorted(self.edges, numbers, side="right"))}


@dataclass(frozen=True)
class Cyclical:
    """A point on the unit circle, NAME_sin and NAME_cos, that goes round once in every `period` of `of`."""

    name: str
    of: str
    period: float

    def __post_init__(self) -> None:
        if not 0 < self.period < math.inf:
            raise InvalidInput(f"derived {self.name}: the period is {self.period}; give a number above 0")

    @property
    def names(self) -> tuple[str, ...]:
        return (f"{self.name}_sin", f"{self.name}_cos")

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.of,)

    def values(self, columns: Columns) -> Columns:
        import numpy as np

        angles = np.mod(_numbers(columns, self.of), self.period) / self.period * (2 * np.pi)
        return dict(zip(self.names, (np.sin(angles), np.cos(angles)), strict=True))


@dataclass(frozen=True)
class Cross(_Named):
    """Two categories as one, in their spelling with "|" between; missing where one is missing or empty."""

    first: str
    second: str

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.first, self.second)

    def values(self, columns: Columns) -> Columns:
        import numpy as np

        from pipelines.graph_inputs import string_column

        parts = (string_column(columns[name], name) for name in self.reads)
        texts = [f"{a}|{b}" if a and b else None for a, b in zip(*parts, strict=True)]
        return {self.name: np.array([*texts, None], dtype=object)[:-1]}  # of objects, even where there is none


@dataclass(frozen=True)
class Function:
    """A function of the use case's own: from the columns of `reads` to those of `names`, row by row."""

    names: tuple[str, ...]
    reads: tuple[str, ...]
    function: Callable[[Columns], Columns]

    def values(self, columns: Columns) -> Columns:
        return self.function(columns)


@dataclass(frozen=True)
class Each(_Named):
    """A stored feature of each key in a list that the request has, such as a basket's items, reduced to one number.

    Elements for which the feature is missing or stale, and elements that are None, do not count; one that stands twice
    counts twice. Where no element counts, `count` is 0 and the others are missing. All are missing where there is no
    list, or the online store does not answer.

    Attributes:
        of: the column of the request with the list.
        key: the key of the view that an element is; its other keys are the request's.
        feature: a number of that view.
    """

    of: str
    key: str
    feature: str
    by: Reduction

    def __post_init__(self) -> None:
        if self.by not in get_args(Reduction):
            raise InvalidInput(f"derived {self.name}: by is {self.by!r}; choose from {', '.join(get_args(Reduction))}")

    @cached_property
    def elements(self) -> str:
        """The column with the feature of each element: objects, (elements,) float64 each, or None without a list."""
        return f"{self.feature} of each {self.key} in {self.of}"

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.elements,)

    def values(self, columns: Columns) -> Columns:
        import numpy as np

        lists = columns[self.elements]
        rows = np.repeat(np.arange(len(lists)), [0 if one is None else len(one) for one in lists])
        flat = np.concatenate([np.empty(0), *(one for one in lists if one is not None)])
        rows, flat = rows[~np.isnan(flat)], flat[~np.isnan(flat)]
        counts = np.bincount(rows, minlength=len(lists))
        reduced = self._reduce(rows, flat, counts)
        absent = np.array([one is None for one in lists], dtype=bool)
        return {self.name: np.where(absent, np.nan, reduced)}

    def _reduce(self, rows: NDArray[np.intp], flat: Numbers, counts: NDArray[np.intp]) -> Numbers:
        """One element after the other in the order of each list, so that no other row changes a bit."""
        import numpy as np

        if self.by == "count":
            return counts.astype(np.float64)
        if self.by in ("max", "min"):
            reduce, first = (np.maximum, -np.inf) if self.by == "max" else (np.minimum, np.inf)
            ends = np.full(len(counts), first)
            reduce.at(ends, rows, flat)
            return np.where(counts > 0, ends, np.nan)
        sums = np.where(counts > 0, np.bincount(rows, weights=flat, minlength=len(counts)), np.nan)
        return sums / np.maximum(counts, 1) if self.by == "mean" else sums


def _numbers(columns: Columns, name: str) -> Numbers:
    from pipelines.graph_inputs import exact_column

    if columns[name].dtype.kind == "M":
        raise InvalidInput(f"{name} holds instants, not numbers; take a Difference with a unit")
    return exact_column(columns[name], name)


def _instants(columns: Columns, name: str) -> NDArray[Any]:
    if columns[name].dtype.kind != "M":
        raise InvalidInput(f"{name} holds no instants ({columns[name].dtype}); leave the unit out")
    return columns[name].astype("datetime64[us]")
