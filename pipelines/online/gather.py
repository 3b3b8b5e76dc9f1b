"""Values of entities in arrays, from which those of many requests are taken at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Pool:
    """Values that only grow in number, in one array; the first `width` are those of an entity without rows."""

    def __init__(self, dtype: Any, absent: Any, width: int) -> None:
        self.values = np.full(max(width, 64), absent, dtype=dtype)
        self._size = width

    def add(self, values: Sequence[Any]) -> int:
        """Keep some more, and give the position of the first."""
        first, self._size = self._size, self._size + len(values)
        while self._size > len(self.values):
            self.values = np.concatenate([self.values, np.empty_like(self.values)])
        self.values[first : self._size] = values
        return first


class Gather:
    """Finds the values of entities in a pool: those of each group of views lie together.

    Args:
        widths: of the views of each group, in order.
    """

    def __init__(self, dtype: Any, absent: Any, widths: Sequence[Sequence[int]]) -> None:
        of_groups = [sum(group) for group in widths]
        views = [len(group) for group in widths]
        self._pool = Pool(dtype, absent, max(of_groups, default=0))
        self._first = Pool(np.intp, 0, 1)
        self._group = np.repeat(np.arange(len(widths)), of_groups)
        self._group_of_view = np.repeat(np.arange(len(widths)), views)
        self._view = np.repeat(np.arange(sum(views)), [width for group in widths for width in group])
        self._within = np.concatenate([np.arange(width) for width in of_groups] or [np.arange(0)])

    def add(self, values: Sequence[Any]) -> int:
        """The place of one more entity of a group."""
        return self._first.add([self._pool.add(values)])

    def get(self, places: NDArray[np.intp], hidden: NDArray[np.bool_] | None = None) -> NDArray[Any]:
        """(N, all widths), of the (N, groups) places of entities; absent where (N, views) are hidden."""
        first = self._first.values.take(places)
        if hidden is None:
            first = first.take(self._group, axis=1)
        else:
            of_views = first.take(self._group_of_view, axis=1)
            of_views[hidden] = 0
            first = of_views.take(self._view, axis=1)
        first += self._within
        values: NDArray[Any] = self._pool.values.take(first)
        return values
