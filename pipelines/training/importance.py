"""Permutation importance: what a model loses when one input is shuffled among the rows (Breiman 2001)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.metrics.scores import measure

Score = Callable[[NDArray[np.float32], NDArray[np.object_]], NDArray[np.float64]]


def permutation_importance(
    numeric: NDArray[np.float32],
    categorical: NDArray[np.object_],
    names: tuple[str, ...],
    labels: NDArray[np.float64],
    score: Score,
    rows: int,
    repeats: int,
    seed: int,
) -> pd.DataFrame:
    """Means over `repeats` shuffles on at most `rows` rows, drawn without replacement.

    Inputs that say the same, such as a delay over one hour and over two, share their importance: each shows little.

    Args:
        numeric, categorical: (N, n) and (N, m), as a graph reads them.
        names: of the n + m inputs.
        score: of such arrays.

    Returns:
        Columns input, log_loss_rise, roc_auc_drop (NaN with one class), by falling rise.
    """
    generator = np.random.default_rng(seed)
    kept = np.sort(generator.permutation(len(labels))[:rows])
    numeric, categorical, labels = numeric[kept], categorical[kept], labels[kept]
    base = measure(labels, score(numeric, categorical))
    found = []
    for position, name in enumerate(names):
        runs = []
        for _ in range(repeats):
            shuffled: list[NDArray[Any]] = [numeric, categorical]
            part, column = (0, position) if position < numeric.shape[1] else (1, position - numeric.shape[1])
            shuffled[part] = shuffled[part].copy()
            shuffled[part][:, column] = shuffled[part][generator.permutation(len(labels)), column]
            runs.append(measure(labels, score(*shuffled)))
        rise = np.mean([run["log_loss"] for run in runs]) - base["log_loss"]
        drop = base["roc_auc"] - np.mean([run["roc_auc"] for run in runs])
        found.append({"input": name, "log_loss_rise": float(rise), "roc_auc_drop": float(drop)})
    frame = pd.DataFrame(found, columns=["input", "log_loss_rise", "roc_auc_drop"])
    return frame.sort_values(["log_loss_rise", "input"], ascending=[False, True]).reset_index(drop=True)
