"""A multilayer perceptron on embedded strings and standardised numbers (PyTorch)."""

from __future__ import annotations

import pandas as pd
from torch import Tensor, nn

from pipelines.params.training import Mlp
from pipelines.training.cleaning import Cleaning
from pipelines.training.families import ALONE, Extras
from pipelines.training.networks import Fitted, Shape, Stem, fit_network, head, tower
from pipelines.usecase import ModelInputs

LIBRARIES = ("torch",)


class Perceptron(nn.Module):
    def __init__(self, shape: Shape, settings: Mlp, log_odds: float) -> None:
        super().__init__()
        self.stem = Stem(shape, settings.embedding_dim)
        self.hidden, width = tower(self.stem.width, settings.hidden, settings.dropout)
        self.head = head(width, log_odds)

    def forward(self, numbers: Tensor, rows: Tensor, tasks: int) -> Tensor:
        out: Tensor = self.head(self.hidden(self.stem(numbers, rows)))
        return out


def fit(
    train: pd.DataFrame,
    validation: pd.DataFrame,
    inputs: ModelInputs,
    cleaning: Cleaning,
    settings: Mlp,
    seed: int,
    extras: Extras = ALONE,
) -> Fitted:
    def build(shape: Shape, log_odds: list[float]) -> Perceptron:
        return Perceptron(shape, settings, log_odds[0])

    return fit_network(build, train, validation, inputs, cleaning, settings, seed, extras)
