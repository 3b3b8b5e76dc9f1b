"""A multilayer perceptron on embedded strings and standardised numbers (PyTorch), written to ONNX node by node.

Whole columns live in tensors and batches are slices of a permutation: no row is touched in Python. Given the number of
threads, a fit on CPU is deterministic.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipelines.params.training import Mlp
from pipelines.training.cleaning import Cleaning
from pipelines.training.onnx_graph import Graph, clean, encode_strings, standardise
from pipelines.training.preprocessing import Arrays, Scale, Vocabulary, arrays, fit_vocabulary
from pipelines.training.search import Progress
from pipelines.usecase import LABEL, ModelInputs

LIBRARIES = ("torch",)
BATCH = 65_536  # rows predicted at once

log = logging.getLogger(__name__)


class Network(nn.Module):
    """Log-odds (N,) from standardised numbers with their marks (N, n) and vocabulary rows (N, m)."""

    def __init__(self, numeric: int, categorical: int, table: int, settings: Mlp, log_odds: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(max(table, 1), settings.embedding_dim)
        nn.init.normal_(self.embedding.weight, std=0.1)
        widths = (numeric + categorical * settings.embedding_dim, *settings.hidden)
        hidden = [
            layer
            for width, wider in zip(widths[1:], widths[:-1], strict=True)
            for layer in (nn.Linear(wider, width), nn.ReLU(), nn.Dropout(settings.dropout))
        ]
        last = nn.Linear(widths[-1], 1)
        nn.init.constant_(last.bias, log_odds)
        self.layers = nn.Sequential(*hidden, last)

    def forward(self, numbers: Tensor, rows: Tensor) -> Tensor:
        out: Tensor = self.layers(torch.cat([numbers, self.embedding(rows).flatten(1)], dim=1))
        return out.squeeze(1)

    @property
    def linears(self) -> list[nn.Linear]:
        return [layer for layer in self.layers if isinstance(layer, nn.Linear)]


@dataclass(frozen=True)
class Fitted:
    inputs: ModelInputs
    cleaning: Cleaning
    vocabulary: Vocabulary
    scale: Scale
    network: Network

    def log_odds(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        read = arrays(frame, self.inputs, self.vocabulary)
        return log_odds(self.network, *_tensors(read, self.cleaning, self.scale)).numpy().astype(np.float64)

    def body(self, graph: Graph) -> str:
        parts = [standardise(graph, self.scale, *clean(graph, self.cleaning))]
        if self.vocabulary.values:
            table = graph.constant(self.network.embedding.weight.detach().numpy(), "embedding")
            embedded = graph.add("Gather", table, encode_strings(graph, self.vocabulary))
            parts.append(graph.add("Flatten", embedded, axis=1))
        out = graph.add("Concat", *parts, axis=1)
        for number, linear in enumerate(self.network.linears):
            weight = graph.constant(linear.weight.detach().numpy(), f"weight_{number}")
            bias = graph.constant(linear.bias.detach().numpy(), f"bias_{number}")
            rectified = graph.add("Relu", out) if number else out
            out = graph.add("Gemm", rectified, weight, bias, transB=1)
        return out


def _tensors(read: Arrays, cleaning: Cleaning, scale: Scale) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(scale.apply(cleaning.apply(read.numeric))), torch.from_numpy(read.rows)


@torch.no_grad()
def log_odds(network: Network, numbers: Tensor, rows: Tensor) -> Tensor:
    network.eval()
    chunks = zip(torch.split(numbers, BATCH), torch.split(rows, BATCH), strict=True)
    return torch.cat([network(n, r) for n, r in chunks]) if len(numbers) else numbers.new_zeros(0)


def fit(
    train: pd.DataFrame,
    validation: pd.DataFrame,
    inputs: ModelInputs,
    cleaning: Cleaning,
    settings: Mlp,
    seed: int,
    progress: Progress | None = None,
) -> Fitted:
    """AdamW on log loss. Keeps the best epoch on `validation`; stops when `patience` epochs brought no better."""
    vocabulary = fit_vocabulary(train, inputs)
    read, held = arrays(train, inputs, vocabulary), arrays(validation, inputs, vocabulary)
    scale = Scale.fit(cleaning.capped(read.numeric))
    numbers, rows = _tensors(read, cleaning, scale)
    labels = torch.from_numpy(train[LABEL].to_numpy(dtype=np.float32))
    held_tensors = _tensors(held, cleaning, scale)
    held_labels = torch.from_numpy(validation[LABEL].to_numpy(dtype=np.float32))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        rate = labels.mean().clamp(1e-4, 1 - 1e-4)
        network = Network(
            numbers.shape[1], rows.shape[1], vocabulary.size, settings, float(torch.log(rate / (1 - rate)))
        )
        _descend(
            network,
            (numbers, rows, labels),
            lambda: float(
                nn.functional.binary_cross_entropy_with_logits(log_odds(network, *held_tensors), held_labels)
            ),
            settings,
            progress,
        )
    return Fitted(inputs, cleaning, vocabulary, scale, network)


def _descend(
    network: Network,
    data: tuple[Tensor, Tensor, Tensor],
    validate: Callable[[], float],
    settings: Mlp,
    progress: Progress | None,
) -> None:
    numbers, rows, labels = data
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    best, since, kept = float("inf"), 0, _weights(network)
    for epoch in range(settings.epochs):
        network.train()
        for batch in torch.split(torch.randperm(len(labels)), settings.batch_size):
            optimizer.zero_grad()
            loss = nn.functional.binary_cross_entropy_with_logits(network(numbers[batch], rows[batch]), labels[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        held = validate()
        log.info("epoch %d of %d: validation log loss %.5f", epoch + 1, settings.epochs, held)
        if progress:
            progress(epoch + 1, held)
        if held < best:
            best, since, kept = held, 0, _weights(network)
        else:
            since += 1
        if since >= settings.patience:
            log.info("stopped early: %d epochs brought no better than %.5f", since, best)
            break
    network.load_state_dict(kept)


def _weights(network: Network) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
