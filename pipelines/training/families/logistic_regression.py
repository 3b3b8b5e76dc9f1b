"""Regularised logistic regression (scikit-learn) on standardised numbers and one indicator per string."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from sklearn.linear_model import LogisticRegression as Estimator

from pipelines.params.training import LogisticRegression
from pipelines.training.cleaning import Cleaning
from pipelines.training.onnx_graph import Graph, clean, encode_strings, standardise
from pipelines.training.preprocessing import Arrays, Scale, Vocabulary, arrays, class_weight, fit_vocabulary
from pipelines.training.tasks import Task
from pipelines.usecase import LABEL, ModelInputs

LIBRARIES = ("scikit-learn", "scipy")
NARROW = 2_000  # columns up to which Newton's method, which needs their square in memory, finds the optimum sooner


@dataclass(frozen=True)
class FittedRegression:
    inputs: ModelInputs
    cleaning: Cleaning
    vocabulary: Vocabulary
    scale: Scale
    estimator: Estimator

    def log_odds(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        if not len(frame):
            return np.zeros(0)
        matrix = _matrix(arrays(frame, self.inputs, self.vocabulary), self.cleaning, self.scale, self.vocabulary)
        return np.asarray(self.estimator.decision_function(matrix), dtype=np.float64)

    def body(self, graph: Graph) -> str:
        weights = self.estimator.coef_.ravel().astype(np.float32)
        numbers = standardise(graph, self.scale, *clean(graph, self.cleaning))
        split = len(weights) - self.vocabulary.size
        bias = graph.constant(self.estimator.intercept_.astype(np.float32), "bias")
        raw = graph.add("Gemm", numbers, graph.constant(weights[:split, None], "weights"), bias)
        if self.vocabulary.values:
            table = graph.constant(weights[split:], "effects")
            effects = graph.add("Gather", table, encode_strings(graph, self.vocabulary))
            axis = graph.constant(np.array([1], dtype=np.int64), "columns")
            raw = graph.add("Add", raw, graph.add("ReduceSum", effects, axis))
        return raw


def fit(task: Task, settings: LogisticRegression) -> FittedRegression:
    """Fit on `task.train`. Neither the validation frame nor the seed is read, since the optimum is unique."""
    train, inputs, cleaning = task.train, task.inputs, task.cleaning
    vocabulary = fit_vocabulary(train, inputs)
    columns = arrays(train, inputs, vocabulary)
    scale = Scale.fit(cleaning.capped(columns.numeric))
    labels = train[LABEL].to_numpy(dtype=np.float64)
    weight = class_weight(labels, settings.positive_weight)
    matrix = _matrix(columns, cleaning, scale, vocabulary)
    solver = "newton-cholesky" if matrix.shape[1] <= NARROW else "lbfgs"
    estimator = Estimator(
        C=1 / settings.l2_regularization, max_iter=settings.max_iter, class_weight=weight, solver=solver
    )
    return FittedRegression(inputs, cleaning, vocabulary, scale, estimator.fit(matrix, labels))


def _matrix(columns: Arrays, cleaning: Cleaning, scale: Scale, vocabulary: Vocabulary) -> sparse.csr_array:
    """(N, values and marks, then one column per row of the vocabulary's table)."""
    rows, width = columns.rows.shape
    ends = np.arange(rows + 1) * width
    strings = sparse.csr_array((np.ones(rows * width), columns.rows.ravel(), ends), shape=(rows, vocabulary.size))
    numbers = scale.apply(cleaning.apply(columns.numeric))
    return sparse.csr_array(sparse.hstack([numbers.astype(np.float64), strings], format="csr"))
