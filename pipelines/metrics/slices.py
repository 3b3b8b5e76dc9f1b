"""The same metrics on each slice of the rows, to find those that an average hides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from pipelines.metrics.scores import jsonable, measure

MISSING = "(missing)"


def slice_metrics(
    frame: pd.DataFrame, columns: Sequence[str], labels: ArrayLike, scores: ArrayLike, min_slice: int
) -> dict[str, list[dict[str, Any]]]:
    """Per column, one entry per value: value, rows, ranked, and every metric (None where undefined), largest first.

    A slice with fewer than `min_slice` rows is listed but not `ranked`.
    """
    y, s = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    return {column: _of_column(frame[column], y, s, min_slice) for column in columns}


def _of_column(values: pd.Series[Any], labels: Any, scores: Any, min_slice: int) -> list[dict[str, Any]]:
    codes, names = pd.factorize(values.astype("string").fillna(MISSING), sort=True)
    found = []
    for code, name in enumerate(names):
        rows = codes == code
        count = int(rows.sum())
        metrics = jsonable(measure(labels[rows], scores[rows]))
        found.append({"value": str(name), "rows": count, "ranked": count >= min_slice, **metrics})
    return sorted(found, key=lambda entry: (-entry["rows"], entry["value"]))


def worst_slice(slices: dict[str, list[dict[str, Any]]], metric: str = "roc_auc") -> dict[str, Any] | None:
    """The ranked slice with the lowest `metric`, with its column; None where no slice can be ranked."""
    ranked = [
        {"column": column, **entry}
        for column, entries in slices.items()
        for entry in entries
        if entry["ranked"] and entry[metric] is not None
    ]
    return min(ranked, key=lambda entry: entry[metric], default=None)
