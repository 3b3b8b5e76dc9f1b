"""A multilayer perceptron on embedded strings and standardised numbers (PyTorch)."""

from __future__ import annotations

from torch import Tensor, nn

from pipelines.params.training import Mlp
from pipelines.training.networks import Shape, Stem, head, single_task, tower

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


fit = single_task(Perceptron)
