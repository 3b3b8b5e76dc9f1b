"""DCN-v2, an improved Deep & Cross Network (Wang et al. 2021): explicit crosses of inputs beside a deep tower."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipelines.params.training import DcnV2
from pipelines.training.networks import Shape, Stem, head, single_task, tower

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


fit = single_task(DeepAndCross)
