"""MMoE, multi-gate mixture-of-experts (Ma et al. 2018): two tasks share experts, each with a gate and a tower.

The label is the first task, whose score is the answer; the use case's first auxiliary label is the second, served as a
further output.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipelines.errors import InvalidInput
from pipelines.params.training import Mmoe
from pipelines.training.networks import Auxiliary, FittedNetwork, Shape, Stem, fit_network, head, tower
from pipelines.training.tasks import Task

LIBRARIES = ("torch",)
AUXILIARY = True


class TaskHead(nn.Module):
    """A gate, softmax over the experts, and a tower on the mixture."""

    def __init__(self, width: int, mixed: int, settings: Mmoe, log_odds: float) -> None:
        super().__init__()
        self.gate = nn.Linear(width, settings.experts)
        self.tower, last = tower(mixed, settings.tower_hidden, settings.dropout)
        self.head = head(last, log_odds)

    def forward(self, x: Tensor, experts: Tensor) -> Tensor:
        shares = torch.softmax(self.gate(x), dim=1)
        mixture = (shares.unsqueeze(2) * experts).sum(dim=1)
        out: Tensor = self.head(self.tower(mixture))
        return out


class Mixture(nn.Module):
    def __init__(self, shape: Shape, settings: Mmoe, log_odds: list[float]) -> None:
        super().__init__()
        self.stem = Stem(shape, settings.embedding_dim)
        width, mixed = self.stem.width, settings.expert_hidden[-1]
        experts = (tower(width, settings.expert_hidden, settings.dropout)[0] for _ in range(settings.experts))
        self.experts = nn.ModuleList(experts)
        self.tasks = nn.ModuleList(TaskHead(width, mixed, settings, odds) for odds in log_odds)

    def forward(self, numbers: Tensor, rows: Tensor, tasks: int) -> Tensor:
        x = self.stem(numbers, rows)
        experts = torch.stack([expert(x) for expert in self.experts], dim=1)
        return torch.cat([task(x, experts) for task in self.tasks[:tasks]], dim=1)


def fit(task: Task, settings: Mmoe) -> FittedNetwork:
    """Raises InvalidInput where the training set carries no auxiliary label, or one that is always the same."""
    if not task.frames.auxiliary:
        raise InvalidInput(
            "mmoe learns a second task, and the training set carries no auxiliary label; declare `auxiliary` in the "
            "use case and build the set anew, or choose another family"
        )
    second = task.frames.auxiliary[0]
    if task.train[second].dropna().nunique() < 2:
        raise InvalidInput(f"mmoe learns {second!r} too, which does not vary in training; choose another family")

    def build(shape: Shape, log_odds: list[float]) -> Mixture:
        return Mixture(shape, settings, log_odds)

    return fit_network(build, task, settings, Auxiliary((second,), settings.auxiliary_weight))
