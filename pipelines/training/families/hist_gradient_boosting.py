"""Gradient boosting over histograms (scikit-learn), with our own exact conversion to ONNX.

Strings become numbers ordered by their mean label, so that trees split them well (Fisher 1958). The ensemble is fitted
on float32 values and compared in float32, so thresholds are rounded down to float32: then `x <= threshold` is the same
in both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from pipelines.params.training import HistGradientBoosting
from pipelines.training.cleaning import Cleaning
from pipelines.training.onnx_graph import ML, Graph, clean, encode_strings
from pipelines.training.preprocessing import Arrays, Vocabulary, arrays, class_weight, fit_vocabulary, ordered_codes
from pipelines.training.tasks import Task
from pipelines.usecase import LABEL, ModelInputs

LIBRARIES = ("scikit-learn",)
PRIOR = 50.0  # rows of the overall mean that smooth a string's mean label


@dataclass(frozen=True)
class FittedEnsemble:
    inputs: ModelInputs
    cleaning: Cleaning
    vocabulary: Vocabulary
    codes: NDArray[np.float32]
    estimator: HistGradientBoostingClassifier

    def log_odds(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        if not len(frame):
            return np.zeros(0)
        matrix = _matrix(arrays(frame, self.inputs, self.vocabulary), self.cleaning, self.codes)
        return np.asarray(self.estimator.decision_function(matrix), dtype=np.float64)

    def body(self, graph: Graph) -> str:
        parts = [*clean(graph, self.cleaning)]
        if self.vocabulary.values:
            table = graph.constant(self.codes, "codes")
            parts.append(graph.add("Gather", table, encode_strings(graph, self.vocabulary)))
        matrix = graph.add("Concat", *parts, axis=1)
        return graph.add("TreeEnsembleRegressor", matrix, domain=ML, n_targets=1, **ensemble(self.estimator))


def fit(task: Task, settings: HistGradientBoosting) -> FittedEnsemble:
    """Fit on `task.train`; the validation frame is not read, since the number of trees is a setting.

    Nothing is reported: the loss after few trees depends on the learning rate, so that trials with a small one would be
    pruned.
    """
    train, inputs, cleaning = task.train, task.inputs, task.cleaning
    vocabulary = fit_vocabulary(train, inputs)
    labels = train[LABEL].to_numpy(dtype=np.float64)
    columns = arrays(train, inputs, vocabulary)
    codes = ordered_codes(columns.rows, labels, vocabulary, PRIOR)
    estimator = HistGradientBoostingClassifier(
        **settings.model_dump(exclude={"search", "positive_weight"}),
        class_weight=class_weight(labels, settings.positive_weight),
        early_stopping=False,
        categorical_features=None,
        random_state=task.seed,
    )
    return FittedEnsemble(inputs, cleaning, vocabulary, codes, estimator.fit(_matrix(columns, cleaning, codes), labels))


def _matrix(columns: Arrays, cleaning: Cleaning, codes: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([cleaning.apply(columns.numeric), codes[columns.rows]], axis=1)


def float32_below(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 not above each threshold: for float32 x, `x <= threshold` is the same with either."""
    with np.errstate(over="ignore"):
        nearest = thresholds.astype(np.float32)
        below = np.nextafter(nearest, np.float32(-np.inf))
    return np.where(nearest > thresholds, below, nearest).astype(np.float32)


def ensemble(estimator: HistGradientBoostingClassifier) -> dict[str, Any]:
    """Attributes of a TreeEnsembleRegressor that gives the estimator's log-odds."""
    trees = [iteration[0].nodes for iteration in estimator._predictors]
    nodes = np.concatenate(trees)
    tree = np.repeat(np.arange(len(trees)), [len(t) for t in trees])
    position = np.concatenate([np.arange(len(t)) for t in trees])
    leaf = nodes["is_leaf"].astype(bool)
    return {
        "aggregate_function": "SUM",
        "post_transform": "NONE",
        "base_values": [float(estimator._baseline_prediction.ravel()[0])],
        "nodes_treeids": tree.tolist(),
        "nodes_nodeids": position.tolist(),
        "nodes_featureids": np.where(leaf, 0, nodes["feature_idx"]).tolist(),
        "nodes_modes": np.where(leaf, "LEAF", "BRANCH_LEQ").tolist(),
        "nodes_values": float32_below(np.where(leaf, 0.0, nodes["num_threshold"])).tolist(),
        "nodes_truenodeids": np.where(leaf, 0, nodes["left"]).tolist(),
        "nodes_falsenodeids": np.where(leaf, 0, nodes["right"]).tolist(),
        "nodes_missing_value_tracks_true": np.where(leaf, 0, nodes["missing_go_to_left"]).tolist(),
        "target_treeids": tree[leaf].tolist(),
        "target_nodeids": position[leaf].tolist(),
        "target_ids": np.zeros(leaf.sum(), dtype=int).tolist(),
        "target_weights": nodes["value"][leaf].astype(np.float32).tolist(),
    }
