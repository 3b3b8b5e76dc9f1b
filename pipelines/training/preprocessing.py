"""Preprocessing that is fitted before a model: the vocabulary of strings, the scale of numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.artifacts.scorer import model_arrays
from pipelines.usecase import ModelInputs

RARE = 10  # a string that occurs less often counts as unseen, so that models learn from unseen strings
SPREAD = 8.0  # standardised numbers are clipped at this many standard deviations


@dataclass(frozen=True)
class Arrays:
    """A frame as a model reads it: numeric (N, n), and rows (N, m) of the vocabulary's table."""

    numeric: NDArray[np.float32]
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class Vocabulary:
    """Strings of the categorical inputs. Each column owns consecutive rows of one table: unseen, missing, its values.

    Attributes:
        values: per column, the strings that have a row, sorted. The missing string ("") is never among them.
    """

    values: tuple[tuple[str, ...], ...]

    @property
    def offsets(self) -> tuple[int, ...]:
        """First row of each column in the table, which is for unseen strings; the next row is for missing ones."""
        sizes = [len(column) + 2 for column in self.values]
        return tuple(int(n) for n in np.cumsum([0, *sizes[:-1]])) if sizes else ()

    @property
    def size(self) -> int:
        return sum(len(column) + 2 for column in self.values)

    @classmethod
    def fit(cls, categorical: NDArray[np.object_], rare: int = RARE) -> Vocabulary:
        """Keep the strings seen at least `rare` times in (N, m) strings."""
        columns = (pd.Series(categorical[:, column]).value_counts() for column in range(categorical.shape[1]))
        return cls(tuple(tuple(sorted(str(v) for v, n in c.items() if v != "" and n >= rare)) for c in columns))

    def rows(self, categorical: NDArray[np.object_]) -> NDArray[np.int64]:
        """(N, m) strings to (N, m) rows of the table."""
        rows = np.empty(categorical.shape, dtype=np.int64)
        for column, (values, offset) in enumerate(zip(self.values, self.offsets, strict=True)):
            index = pd.Index(["", *values], dtype=object)
            rows[:, column] = index.get_indexer(pd.Index(categorical[:, column], dtype=object)) + 1 + offset
        return rows


def arrays(frame: pd.DataFrame, inputs: ModelInputs, vocabulary: Vocabulary) -> Arrays:
    numeric, categorical = model_arrays(frame, inputs)
    return Arrays(numeric, vocabulary.rows(categorical))


def fit_vocabulary(frame: pd.DataFrame, inputs: ModelInputs) -> Vocabulary:
    return Vocabulary.fit(model_arrays(frame, ModelInputs((), inputs.categorical))[1])


def ordered_codes(
    rows: NDArray[np.int64], labels: NDArray[np.float64], vocabulary: Vocabulary, prior: float
) -> NDArray[np.float32]:
    """A number for each row of the vocabulary's table, so that trees can split strings by their mean label.

    In each column codes rise with the mean label in training, smoothed by `prior` rows of the overall mean. A row that
    does not occur in training (unseen strings, often also missing ones) is NaN, which trees treat as missing.

    Args:
        rows: (N, m), of the training frame. labels: (N,).

    Returns:
        (vocabulary.size,) float32.
    """
    codes = np.full(vocabulary.size, np.nan, dtype=np.float32)
    for column, (values, offset) in enumerate(zip(vocabulary.values, vocabulary.offsets, strict=True)):
        size = len(values) + 2
        counts = np.bincount(rows[:, column] - offset, minlength=size)
        positive = np.bincount(rows[:, column] - offset, labels, minlength=size)
        mean = (positive + prior * labels.mean()) / (counts + prior)
        present = np.flatnonzero(counts[1:]) + 1  # row 0, unseen strings, stays NaN also where rare strings fell on it
        order = present[np.argsort(mean[present], kind="stable")]
        codes[offset + order] = np.arange(len(order), dtype=np.float32)
    return codes


def class_weight(labels: NDArray[np.float64], positive_weight: float | str) -> dict[float, float] | None:
    """scikit-learn's weights of label 0, which is 1, and of label 1; none where both count alike."""
    if positive_weight == "balanced":
        positive = labels.sum()
        return {0.0: 1.0, 1.0: float((len(labels) - positive) / positive)}
    return None if positive_weight == 1.0 else {0.0: 1.0, 1.0: float(positive_weight)}


@dataclass(frozen=True)
class Scale:
    """Standardisation by mean and deviation, each (n,), of the finite training values, capped and not yet filled."""

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]

    @classmethod
    def fit(cls, numeric: NDArray[np.float32]) -> Scale:
        finite = np.isfinite(numeric)
        count = np.maximum(finite.sum(axis=0), 1)
        values = np.where(finite, numeric, 0.0).astype(np.float64)
        mean = values.sum(axis=0) / count
        variance = np.where(finite, (values - mean) ** 2, 0.0).sum(axis=0) / count
        deviation = np.sqrt(variance)
        return cls(mean.astype(np.float32), np.where(deviation > 1e-12, deviation, 1.0).astype(np.float32))

    def apply(self, cleaned: NDArray[np.float32]) -> NDArray[np.float32]:
        """The result of `Cleaning.apply` with its n values standardised and clipped at `SPREAD`."""
        values, marks = np.split(cleaned, [len(self.mean)], axis=1)
        with np.errstate(over="ignore"):
            standardised = (values - self.mean) / self.deviation
        return np.concatenate([np.clip(standardised, -SPREAD, SPREAD), marks], axis=1)
