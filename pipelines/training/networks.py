"""What the torch families share: columns in tensors, the parts that networks are made of, the fit, the export."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipelines.params.training import Network
from pipelines.training.cleaning import Cleaning
from pipelines.training.families import ALONE, Extras
from pipelines.training.onnx_graph import Graph, clean, encode_strings, standardise
from pipelines.training.preprocessing import Scale, Vocabulary, arrays, fit_vocabulary
from pipelines.training.pruning import magnitude_masks
from pipelines.training.torch_export import add_module
from pipelines.training.torch_loop import Columns, descend, log_odds
from pipelines.usecase import LABEL, ModelInputs


@dataclass(frozen=True)
class Shape:
    """What a network reads: n numbers, standardised, followed by their marks, and m rows of the vocabulary's table.

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
    """Linear layers, each with ReLU and dropout, and the width of what they give."""
    widths = (width, *hidden)
    layers = [
        layer
        for before, after in zip(widths[:-1], hidden, strict=True)
        for layer in (nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout))
    ]
    return nn.Sequential(*layers), widths[-1]


def head(width: int, log_odds: float) -> nn.Linear:
    """The last layer of a task, which begins at the log-odds of its label in training."""
    last = nn.Linear(width, 1)
    nn.init.constant_(last.bias, log_odds)
    return last


@dataclass(frozen=True)
class Fitted:
    inputs: ModelInputs
    cleaning: Cleaning
    vocabulary: Vocabulary
    scale: Scale
    network: nn.Module
    epochs: int  # that it was fitted for

    def log_odds(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        read = tensors(frame, self.inputs, self.cleaning, self.vocabulary, self.scale)
        return log_odds(self.network, *read)[:, 0].numpy().astype(np.float64)

    def body(self, graph: Graph) -> str:
        numbers = standardise(graph, self.scale, *clean(graph, self.cleaning))
        rows = encode_strings(graph, self.vocabulary) if self.vocabulary.values else ""
        columns = self.cleaning.width, len(self.vocabulary.values)
        return add_module(graph, self.network, numbers, rows, columns)


def tensors(
    frame: pd.DataFrame, inputs: ModelInputs, cleaning: Cleaning, vocabulary: Vocabulary, scale: Scale
) -> tuple[Tensor, Tensor]:
    read = arrays(frame, inputs, vocabulary)
    return torch.from_numpy(scale.apply(cleaning.apply(read.numeric))), torch.from_numpy(read.rows)


def fit_network(
    build: Callable[[Shape, list[float]], nn.Module],
    train: pd.DataFrame,
    validation: pd.DataFrame,
    inputs: ModelInputs,
    cleaning: Cleaning,
    settings: Network,
    seed: int,
    extras: Extras,
    auxiliary: Sequence[str] = (),
    auxiliary_weight: float = 1.0,
) -> Fitted:
    """Fit the network that `build` makes of a shape and the log-odds of every task's label in training.

    Args:
        auxiliary: columns of `train` with the labels of further tasks, NaN where unknown.
        auxiliary_weight: of each further task's mean loss, where that of the label counts 1.
    """
    tasks = [LABEL, *auxiliary]
    labelled = train if train[LABEL].notna().all() else train[train[LABEL].notna()]
    vocabulary = fit_vocabulary(labelled, inputs)
    scale = Scale.fit(cleaning.capped(arrays(labelled, inputs, vocabulary).numeric))
    labels = torch.from_numpy(train[tasks].to_numpy(dtype=np.float32))
    held = torch.from_numpy(validation[[LABEL]].to_numpy(dtype=np.float32))
    shape = Shape(
        len(inputs.numeric), (*cleaning.flags, *cleaning.indicators), len(inputs.categorical), vocabulary.size
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build(shape, torch.logit(labels.nanmean(dim=0), eps=1e-4).tolist())
    task_weight = torch.tensor([1.0, *[auxiliary_weight] * len(auxiliary)])
    targets = torch.from_numpy(extras.lesson.targets(train)) if extras.lesson else None
    taught = Columns(*tensors(train, inputs, cleaning, vocabulary, scale), labels, targets)
    watched = Columns(*tensors(validation, inputs, cleaning, vocabulary, scale), held)
    epochs = descend(network, taught, watched, settings, seed, task_weight, extras)
    if extras.compression.prune:
        masks, more = magnitude_masks(network, extras.compression.prune), extras.compression.fine_tune_epochs
        again = settings.model_copy(update={"epochs": more})
        alike = Extras(lesson=extras.lesson, epochs=more if extras.epochs else None)
        descend(network, taught, watched, again, seed, task_weight, alike, masks)
    return Fitted(inputs, cleaning, vocabulary, scale, network, epochs)


def single_task(network: Callable[[Shape, Any, float], nn.Module]) -> Callable[..., Fitted]:
    """`fit` of a family whose network is made of a shape, settings, and the label's log-odds in training."""

    def fit(
        train: pd.DataFrame,
        validation: pd.DataFrame,
        inputs: ModelInputs,
        cleaning: Cleaning,
        settings: Network,
        seed: int,
        extras: Extras = ALONE,
    ) -> Fitted:
        def build(shape: Shape, log_odds: list[float]) -> nn.Module:
            return network(shape, settings, log_odds[0])

        return fit_network(build, train, validation, inputs, cleaning, settings, seed, extras)

    return fit
