"""The common code of the torch families: columns as tensors, layers, the fit, the export."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor, nn

from pipelines.params.training import Network
from pipelines.training.cleaning import Cleaning
from pipelines.training.onnx_graph import Graph, clean, encode_strings, standardise
from pipelines.training.preprocessing import Scale, Vocabulary, arrays, fit_vocabulary
from pipelines.training.pruning import magnitude_masks
from pipelines.training.tasks import Task
from pipelines.training.torch_export import add_module
from pipelines.training.torch_loop import Data, TensorColumns, descend, log_odds
from pipelines.usecase import LABEL, ModelInputs


@dataclass(frozen=True)
class Shape:
    """The inputs of a network: n standardised numbers with their marks, and m rows of the vocabulary's table.

    Attributes:
        numbers: n.
        marks: for each mark the position of its number.
        rows: m.
        table: rows of the vocabulary's table.
    """

    numbers: int
    marks: tuple[int, ...]
    rows: int
    table: int


class Stem(nn.Module):
    """Numbers, marks and embedded strings side by side: (N, width)."""

    def __init__(self, shape: Shape, embedding_dim: int) -> None:
        super().__init__()
        self.width = shape.numbers + len(shape.marks) + shape.rows * embedding_dim
        self.embedding = nn.Embedding(shape.table, embedding_dim) if shape.rows else None
        if self.embedding:
            nn.init.normal_(self.embedding.weight, std=0.1)

    def forward(self, numbers: Tensor, rows: Tensor) -> Tensor:
        if self.embedding is None:
            return numbers
        return torch.cat([numbers, self.embedding(rows).flatten(1)], dim=1)


def tower(width: int, hidden: Sequence[int], dropout: float) -> tuple[nn.Sequential, int]:
    """Linear layers, each with ReLU and dropout, and the width of their output."""
    widths = (width, *hidden)
    layers = [
        layer
        for before, after in zip(widths[:-1], hidden, strict=True)
        for layer in (nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout))
    ]
    return nn.Sequential(*layers), widths[-1]


def head(width: int, log_odds: float) -> nn.Linear:
    """The last layer of a task, whose bias begins at the log-odds of the task's label in training."""
    last = nn.Linear(width, 1)
    nn.init.constant_(last.bias, log_odds)
    return last


@dataclass(frozen=True)
class FittedNetwork:
    inputs: ModelInputs
    cleaning: Cleaning
    vocabulary: Vocabulary
    scale: Scale
    network: nn.Module
    epochs: int  # of the fit
    further: tuple[str, ...] = ()

    def log_odds(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        return self._log_odds(frame, 1)[:, 0]

    def further_outputs(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        return np.asarray(expit(self._log_odds(frame, 1 + len(self.further))[:, 1:]), dtype=np.float64)

    def _log_odds(self, frame: pd.DataFrame, tasks: int) -> NDArray[np.float64]:
        numbers, rows = tensors(frame, self.inputs, self.cleaning, self.vocabulary, self.scale)
        return log_odds(self.network, numbers, rows, tasks).numpy().astype(np.float64)

    def body(self, graph: Graph) -> str:
        numbers = standardise(graph, self.scale, *clean(graph, self.cleaning))
        rows = encode_strings(graph, self.vocabulary) if self.vocabulary.values else ""
        columns = self.cleaning.width, len(self.vocabulary.values)
        return add_module(graph, self.network, numbers, rows, columns, 1 + len(self.further))


def tensors(
    frame: pd.DataFrame, inputs: ModelInputs, cleaning: Cleaning, vocabulary: Vocabulary, scale: Scale
) -> tuple[Tensor, Tensor]:
    columns = arrays(frame, inputs, vocabulary)
    return torch.from_numpy(scale.apply(cleaning.apply(columns.numeric))), torch.from_numpy(columns.rows)


@dataclass(frozen=True)
class Auxiliary:
    """The tasks that a network learns besides the label's.

    Attributes:
        labels: columns of the training rows, NaN where unknown.
        weight: of each such task's mean loss, where that of the label counts 1.
    """

    labels: tuple[str, ...] = ()
    weight: float = 1.0


def fit_network(
    build: Callable[[Shape, list[float]], nn.Module], task: Task, settings: Network, auxiliary: Auxiliary = Auxiliary()
) -> FittedNetwork:
    """Build a network from its shape and the log-odds of each task's label in training, and fit it."""
    train, inputs, cleaning = task.train, task.inputs, task.cleaning
    labelled = train if train[LABEL].notna().all() else train[train[LABEL].notna()]
    vocabulary = fit_vocabulary(labelled, inputs)
    scale = Scale.fit(cleaning.capped(arrays(labelled, inputs, vocabulary).numeric))

    def columns(frame: pd.DataFrame, labels: list[str], targets: Tensor | None = None) -> TensorColumns:
        values = torch.from_numpy(frame[labels].to_numpy(dtype=np.float32))
        return TensorColumns(*tensors(frame, inputs, cleaning, vocabulary, scale), values, targets)

    targets = torch.from_numpy(task.lesson.targets(train)) if task.lesson else None
    data = Data(
        columns(train, [LABEL, *auxiliary.labels], targets),
        columns(task.validation, [LABEL]),
        torch.tensor([1.0, *[auxiliary.weight] * len(auxiliary.labels)]),
    )
    shape = Shape(
        len(inputs.numeric), (*cleaning.flags, *cleaning.indicators), len(inputs.categorical), vocabulary.size
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.seed)
        network = build(shape, torch.logit(data.train.labels.nanmean(dim=0), eps=1e-4).tolist())
    epochs = descend(network, data, settings, task)
    if task.compression.prune:
        prune(network, data, settings, task)
    return FittedNetwork(inputs, cleaning, vocabulary, scale, network, epochs, auxiliary.labels)


def prune(network: nn.Module, data: Data, settings: Network, task: Task) -> None:
    """Set the smallest weights to zero and train the others further, without checkpoints or reports."""
    epochs = task.compression.fine_tune_epochs
    masks = magnitude_masks(network, task.compression.prune)
    again = replace(task, epochs=epochs if task.epochs else None, checkpoints=None, report=None)
    descend(network, data, settings.model_copy(update={"epochs": epochs}), again, masks)


def single_task(network: Callable[[Shape, Any, float], nn.Module]) -> Callable[[Task, Network], FittedNetwork]:
    """The `fit` of a family whose network is built from a shape, settings, and the label's log-odds in training."""

    def fit(task: Task, settings: Network) -> FittedNetwork:
        def build(shape: Shape, log_odds: list[float]) -> nn.Module:
            return network(shape, settings, log_odds[0])

        return fit_network(build, task, settings)

    return fit
