"""DCN-v2, an improved Deep & Cross Network (Wang et al. 2021): explicit crosses of inputs beside a deep tower."""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor, nn

from pipelines.params.training import DcnV2
from pipelines.training.cleaning import Cleaning
from pipelines.training.families import ALONE, Extras
from pipelines.training.networks import Fitted, Shape, Stem, fit_network, head, tower
from pipelines.usecase import ModelInputs

LIBRARIES = ("torch",)


class Cross(nn.Module):
    """x_{l+1} = x_0 * (W x_l + b) + x_l, with W = U V of rank `rank` where that is not 0."""

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        low_rank = 0 < rank < width
        self.inner = nn.Linear(width, rank, bias=False) if low_rank else nn.Identity()
        self.outer = nn.Linear(rank if low_rank else width, width)

    def forward(self, first: Tensor, x: Tensor) -> Tensor:
        return torch.addcmul(x, first, self.outer(self.inner(x)))


class DeepAndCross(nn.Module):
    def __init__(self, shape: Shape, settings: DcnV2, log_odds: float) -> None:
        super().__init__()
        self.parallel = settings.structure == "parallel"
        self.stem = Stem(shape, settings.embedding_dim)
        width = self.stem.width
        self.crosses = nn.ModuleList(Cross(width, settings.rank) for _ in range(settings.cross_layers))
        self.deep, deep = tower(width, settings.hidden, settings.dropout)
        self.head = head(width + deep if self.parallel else deep, log_odds)

    def forward(self, numbers: Tensor, rows: Tensor, tasks: int) -> Tensor:
        first = crossed = self.stem(numbers, rows)
        for cross in self.crosses:
            crossed = cross(first, crossed)
        joined = torch.cat([crossed, self.deep(first)], dim=1) if self.parallel else self.deep(crossed)
        out: Tensor = self.head(joined)
        return out


def fit(
    train: pd.DataFrame,
    validation: pd.DataFrame,
    inputs: ModelInputs,
    cleaning: Cleaning,
    settings: DcnV2,
    seed: int,
    extras: Extras = ALONE,
) -> Fitted:
    def build(shape: Shape, log_odds: list[float]) -> DeepAndCross:
        return DeepAndCross(shape, settings, log_odds[0])

    return fit_network(build, train, validation, inputs, cleaning, settings, seed, extras)
