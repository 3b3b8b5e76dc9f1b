"""The metrics of each slice of the rows, to find bad slices that an average hides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from pipelines.artifacts.evaluation import Slice, WorstSlice
from pipelines.metrics.scores import jsonable, measure

MISSING = "(missing)"


def slice_metrics(
    frame: pd.DataFrame, columns: Sequence[str], labels: ArrayLike, scores: ArrayLike, min_slice: int
) -> dict[str, tuple[Slice, ...]]:
    """Per column, the slice of each value, the largest first, with every metric.

    A slice with fewer than `min_slice` rows is listed but not `ranked`.
    """
    y, s = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    return {column: _of_column(frame[column], y, s, min_slice) for column in columns}


def _of_column(values: pd.Series[Any], labels: Any, scores: Any, min_slice: int) -> tuple[Slice, ...]:
    codes, names = pd.factorize(values.astype("string").fillna(MISSING), sort=True)
    slices = []
    for code, name in enumerate(names):
        rows = codes == code
        count = int(rows.sum())
        metrics = jsonable(measure(labels[rows], scores[rows]))
        slices.append(Slice(value=str(name), rows=count, ranked=count >= min_slice, **metrics))
    return tuple(sorted(slices, key=lambda entry: (-entry.rows, entry.value)))


def worst_slice(slices: Mapping[str, Sequence[Slice]], metric: str = "roc_auc") -> WorstSlice | None:
    """The ranked slice with the lowest `metric`, with its column; None where no slice can be ranked."""
    ranked = [
        (value, column, entry)
        for column, entries in slices.items()
        for entry in entries
        if entry.ranked and (value := entry.metric(metric)) is not None
    ]
    if not ranked:
        return None
    _, column, worst = min(ranked, key=lambda one: one[0])
    return WorstSlice(column=column, **worst.as_json())
