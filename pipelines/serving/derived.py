"""Derived inputs of requests, from the columns of one online read, which has further rows for the elements of lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.declare.reading import Elements, Recipe, Stored
from pipelines.online.columns import ColumnReader, StoredColumns
from pipelines.usecase import Columns

Keys = Mapping[str, Sequence[Any]]


class ListColumn(NamedTuple):
    """A column of the request with lists, whose elements are keys of this name."""

    of: str
    key: str


Lists = Mapping[ListColumn, Elements]
ByList = Mapping[ListColumn, tuple[Elements, NDArray[np.float64]]]  # elements, and the exact values of each


class ElementRows:
    """Additional rows of a read: one for each element of each list.

    Args:
        recipes: of the models that are served.
    """

    def __init__(self, recipes: Sequence[Recipe]) -> None:
        self._beside: dict[ListColumn, set[str]] = {}  # the other keys of the views of a list's elements
        for one, feature in (pair for recipe in recipes for pair in recipe.each):
            self._beside.setdefault(ListColumn(one.of, one.key), set()).update({*feature.keys} - {one.key})

    def of(self, own: Columns) -> dict[ListColumn, Elements]:
        """The elements of each list that is read.

        Raises:
            InvalidInput: if a list is none, or an element is no key.
        """
        return {column: Elements.of(own[column.of], column.of) for column in self._beside}

    def keys(self, keys: Keys, lists: Lists) -> Keys:
        """The keys of requests, and after them those of the elements."""
        longer = {name: [*values] for name, values in keys.items()}
        for column, elements in lists.items():
            for name, values in longer.items():
                if name == column.key:
                    values.extend(elements.keys)
                elif name in self._beside[column]:
                    values.extend([values[row] for row in elements.rows.tolist()])
                else:
                    values.extend([None] * len(elements.keys))  # nothing is read by it
        return longer

    def split(self, stored: StoredColumns, rows: int, lists: Lists) -> tuple[StoredColumns, ByList]:
        """Split a read into the part of `rows` requests, stale where a row of an element is, and that of each list."""
        of_requests, first = stored.part(0, rows), rows
        by_list: dict[ListColumn, tuple[Elements, NDArray[np.float64]]] = {}
        for column, elements in lists.items():
            part = stored.part(first, first + len(elements.keys))
            np.logical_or.at(of_requests.stale, elements.rows, part.stale)
            by_list[column] = elements, part.exacts
            first += len(elements.keys)
        return of_requests, by_list


class Derivation:
    """Computes the derived inputs of one model from the columns of a reader."""

    def __init__(self, recipe: Recipe, reader: ColumnReader) -> None:
        self._recipe = recipe
        self._stored = [
            (one, (reader.texts if one.kind is Stored.TEXT else reader.exacts).index(one.ref)) for one in recipe.stored
        ]
        self._each = [(one, reader.exacts.index(feature.ref)) for one, feature in recipe.each]

    def columns(self, own: Columns, stored: StoredColumns, lists: ByList) -> Columns:
        """By name, (N,) each, of N requests.

        Args:
            own: features of the request.
            lists: elements of its lists; none where the store did not answer.

        Raises:
            InvalidInput: as `Recipe.compute`.
        """
        rows = len(stored.stale)
        read: dict[str, NDArray[Any]] = {}
        for one, place in self._stored:
            if one.kind is Stored.TEXT:
                read[one.name] = texts = stored.texts[:, place].copy()
                texts[texts == ""] = None
            else:
                numbers = np.ascontiguousarray(stored.exacts[:, place])
                read[one.name] = numbers if one.kind is Stored.NUMBER else _instants(numbers)
        for each, place in self._each:
            if (column := ListColumn(each.of, each.key)) in lists:
                elements, values = lists[column]
                read[each.elements] = elements.split(values[:, place])
            else:  # the store did not answer
                read[each.elements] = np.full(rows, None, dtype=object)
        return self._recipe.compute({**own, **read}, rows)


def _instants(microseconds: NDArray[np.float64]) -> NDArray[np.datetime64]:
    missing = np.isnan(microseconds)
    instants = np.where(missing, 0, microseconds).astype(np.int64).view("datetime64[us]")
    instants[missing] = np.datetime64("NaT")
    return instants
