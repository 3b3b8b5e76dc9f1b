"""Permutation importance: the rise of a model's loss when one input is shuffled among the rows (Breiman 2001)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.metrics.scores import measure
from pipelines.params import Importance

Arrays = tuple[NDArray[np.float32], NDArray[np.object_]]  # (N, n) and (N, m), as a graph reads them
Score = Callable[[NDArray[np.float32], NDArray[np.object_]], NDArray[np.float64]]


def permutation_importance(
    arrays: Arrays, names: tuple[str, ...], labels: NDArray[np.float64], score: Score, settings: Importance, seed: int
) -> pd.DataFrame:
    """Means over `settings.repeats` shuffles on at most `settings.rows` rows, drawn without replacement.

    Redundant inputs, such as a delay over one hour and over two, share their importance, so that each has little.

    Args:
        names: of the n + m inputs.
        score: of such arrays.

    Returns:
        Columns input, log_loss_rise, roc_auc_drop (NaN with one class), by falling rise.
    """
    generator = np.random.default_rng(seed)
    sample = np.sort(generator.permutation(len(labels))[: settings.rows])
    numeric, categorical, labels = arrays[0][sample], arrays[1][sample], labels[sample]
    base = measure(labels, score(numeric, categorical))
    losses = []
    for position, name in enumerate(names):
        runs = []
        for _ in range(settings.repeats):
            arrays_shuffled = _shuffle((numeric, categorical), position, generator.permutation(len(labels)))
            runs.append(measure(labels, score(*arrays_shuffled)))
        rise = np.mean([run["log_loss"] for run in runs]) - base["log_loss"]
        drop = base["roc_auc"] - np.mean([run["roc_auc"] for run in runs])
        losses.append({"input": name, "log_loss_rise": float(rise), "roc_auc_drop": float(drop)})
    frame = pd.DataFrame(losses, columns=["input", "log_loss_rise", "roc_auc_drop"])
    return frame.sort_values(["log_loss_rise", "input"], ascending=[False, True]).reset_index(drop=True)


def _shuffle(arrays: Arrays, position: int, order: NDArray[np.int64]) -> Arrays:
    """The arrays with one input, by its position among all, in another order of rows."""
    numeric, categorical = arrays
    if position < numeric.shape[1]:
        numeric = numeric.copy()
        numeric[:, position] = numeric[order, position]
    else:
        categorical, column = categorical.copy(), position - numeric.shape[1]
        categorical[:, column] = categorical[order, column]
    return numeric, categorical
