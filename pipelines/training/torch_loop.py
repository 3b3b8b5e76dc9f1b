"""Fitting a network: AdamW (Loshchilov & Hutter 2019) over permutations of whole columns, in one process or several.

On CPU, with a given number of threads, the result depends on data, settings and seed alone: permutations, dropout and
the learning rate are functions of the seed and the epoch, so that a killed fit continues from its checkpoint to the
same bits. On a GPU, the forward pass runs in bfloat16, which needs no loss scaling.
"""

from __future__ import annotations

import hashlib
import logging
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn
from torch.nn import functional

from pipelines.params.training import Network
from pipelines.training.checkpoints import Checkpoints, State
from pipelines.training.distillation import Lesson
from pipelines.training.machine import code_digest
from pipelines.training.processes import Processes, choose_device
from pipelines.training.pruning import apply_masks, mask_hook
from pipelines.training.tasks import Task

log = logging.getLogger(__name__)

PREDICTED = 4096  # rows predicted at once


@dataclass(frozen=True)
class TensorColumns:
    """Whole columns: numbers (N, n), rows (N, m), labels (N, T), NaN where unknown, and a teacher's targets (N,)."""

    numbers: Tensor
    rows: Tensor
    labels: Tensor
    targets: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def inputs(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        return self.numbers.index_select(0, positions), self.rows.index_select(0, positions)

    def to(self, device: torch.device) -> TensorColumns:
        targets = None if self.targets is None else self.targets.to(device)
        return TensorColumns(self.numbers.to(device), self.rows.to(device), self.labels.to(device), targets)


@dataclass(frozen=True)
class Data:
    """The data that a network is fitted and validated on.

    Attributes:
        task_weight: (T,), of each task's mean loss.
    """

    train: TensorColumns
    validation: TensorColumns
    task_weight: Tensor

    def to(self, device: torch.device) -> Data:
        return Data(self.train.to(device), self.validation.to(device), self.task_weight.to(device))


def rate(step: int, steps: int, warmup: int) -> float:
    """The learning rate of a step as a share of the highest: a linear rise over `warmup` steps, a cosine to zero."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def losses(log_odds: Tensor, labels: Tensor, positive_weight: Tensor, gamma: float) -> Tensor:
    """Focal loss (N, T) of each label (Lin et al. 2017): (1 - p)^gamma times the log loss, p the label's probability.

    The loss of an unknown label is 0.

    Args:
        positive_weight: (T,), weight of label 1, where label 0 has weight 1.
    """
    labels_or_zero = torch.nan_to_num(labels)
    loss = functional.binary_cross_entropy_with_logits(
        log_odds, labels_or_zero, reduction="none", pos_weight=positive_weight
    )
    if gamma:
        plain = functional.binary_cross_entropy_with_logits(log_odds, labels_or_zero, reduction="none")
        loss = loss * (-torch.expm1(-plain)).clamp_min(1e-7) ** gamma
    return torch.where(torch.isnan(labels), torch.zeros_like(loss), loss)


@dataclass(frozen=True)
class Loop:
    """One fit.

    Attributes:
        task_weight: (T,), of each task's mean loss.
        lesson: of the teacher whose targets are in `train`.
    """

    network: nn.Module
    train: TensorColumns
    settings: Network
    seed: int
    task_weight: Tensor
    processes: Processes
    lesson: Lesson | None = None

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return -(-len(self.train) // self.settings.batch_size)

    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW, without weight decay of biases, norms and other vectors."""
        parameters = list(self.network.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": self.settings.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW([g for g in groups if g["params"]], lr=self.settings.learning_rate, fused=True)

    def positive_weight(self) -> Tensor:
        """(T,): the setting applies to the label; in other tasks both classes have weight 1."""
        weight = torch.ones_like(self.task_weight)
        label_weight = self.settings.positive_weight
        if label_weight == "balanced":
            positive = self.train.labels[:, 0].nansum()
            label_weight = float(((~self.train.labels[:, 0].isnan()).sum() - positive) / positive.clamp_min(1))
        weight[0] = label_weight
        return weight

    def epoch(self, number: int, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
        """One pass over a permutation of the rows."""
        network, settings, device = self.network, self.settings, self.train.labels.device
        parameters, weight = list(network.parameters()), self.positive_weight()
        total, warmup = self.steps * settings.epochs, int(settings.warmup_share * self.steps * settings.epochs)
        order = torch.randperm(len(self.train), generator=torch.Generator().manual_seed(self._seed(number)))
        torch.manual_seed(self._seed(number, 1 + self.processes.rank))
        network.train()
        bar = progress.add_task(f"epoch {number + 1} of {settings.epochs}", total=self.steps)
        for step, batch in enumerate(torch.split(order.to(device), settings.batch_size)):
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * rate(number * self.steps + step, total, warmup)
            labelled = (~self.train.labels[batch].isnan()).sum(dim=0).clamp_min(1)
            mine = self.processes.share(batch)
            with torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda"):
                log_odds = network(*self.train.inputs(mine), len(weight))
            row_losses = losses(log_odds.float(), self.train.labels[mine], weight, settings.focal_gamma)
            if self.lesson and self.train.targets is not None:
                unknown = self.train.labels[mine, 0].isnan()
                row_losses = self.lesson.losses(row_losses, log_odds.float(), self.train.targets[mine], ~unknown)
            optimizer.zero_grad()
            (row_losses.sum(dim=0) / labelled * self.task_weight).sum().backward()  # type: ignore[no-untyped-call]
            self.processes.sum_gradients(parameters)
            nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
            optimizer.step()
            progress.advance(bar)
        progress.remove_task(bar)

    def validation_loss(self, columns: TensorColumns) -> float:
        """Mean training loss of the label: the log loss if classes have equal weights and gamma is 0."""
        mine = self.processes.share(torch.arange(len(columns), device=columns.labels.device))
        odds = log_odds(self.network, *columns.inputs(mine)).double()
        row_losses = losses(
            odds, columns.labels[mine, :1].double(), self.positive_weight()[:1], self.settings.focal_gamma
        )
        return float(self.processes.sum(row_losses.sum())) / max(len(columns), 1)

    def _seed(self, *parts: int) -> int:
        """A seed of its own for each use of each epoch."""
        return int(np.random.SeedSequence([abs(self.seed), *parts]).generate_state(1)[0])


@torch.no_grad()
def log_odds(network: nn.Module, numbers: Tensor, rows: Tensor, tasks: int = 1) -> Tensor:
    """(N, tasks), without dropout and in full precision."""
    network.eval()
    parts = zip(torch.split(numbers, PREDICTED), torch.split(rows, PREDICTED), strict=True)
    return torch.cat([network(n, r, tasks) for n, r in parts]) if len(numbers) else numbers.new_zeros((0, tasks))


def descend(
    network: nn.Module, data: Data, settings: Network, task: Task, masks: Mapping[str, Tensor] | None = None
) -> int:
    """Fit a network in place, from its newest checkpoint if there is one, and give the number of epochs.

    Keeps the weights of the epoch with the lowest validation loss, and stops after `patience` epochs without a lower
    one. With `task.epochs`, it runs that many and keeps the last. The learning rate schedule is that of
    `settings.epochs` in any case. Leaves the network on the CPU.

    Args:
        task: its seed, `lesson`, `epochs`, `checkpoints` and `report` are used.
        masks: by parameter, the weights that may differ from zero.
    """
    processes, device, masks = Processes.joined(), choose_device(), masks or {}
    epochs = settings.epochs if task.epochs is None else task.epochs
    apply_masks(network, masks)
    checkpoints = Checkpoints(task.checkpoints, fingerprint(network, data, settings, task, processes))
    network.to(device)
    data = data.to(device)
    loop = Loop(network, data.train, settings, task.seed, data.task_weight, processes, task.lesson)
    optimizer = loop.optimizer()
    optimizer.register_step_post_hook(mask_hook(network, masks))
    epoch, since, best, best_weights = 0, 0, math.inf, weights(network)
    if state := checkpoints.parse(processes.hear(checkpoints.read() if processes.leads else None)):
        epoch, since, best, best_weights = state["epoch"], state["since"], state["best"], state["kept"]
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        log.info("continuing after epoch %d of %d", epoch, settings.epochs)
    quiet = not (sys.stderr.isatty() and processes.leads)
    with (
        Progress(console=Console(stderr=True), transient=True, disable=quiet) as progress,
        torch.random.fork_rng([torch.cuda.current_device()] if device.type == "cuda" else []),
    ):
        while epoch < epochs and since < settings.patience:
            loop.epoch(epoch, optimizer, progress)
            epoch, loss = epoch + 1, loop.validation_loss(data.validation)
            since = 0 if task.epochs or loss < best else since + 1
            if not since:
                best, best_weights = loss, weights(network)
            log.info("epoch %d of %d: validation loss %.5f", epoch, settings.epochs, loss)
            if processes.leads:
                current, moments = network.state_dict(), optimizer.state_dict()
                checkpoints.save(
                    State(epoch=epoch, since=since, best=best, kept=best_weights, network=current, optimizer=moments)
                )
            if task.report:
                task.report(epoch, loss)
    network.load_state_dict(best_weights)
    network.cpu()
    return epoch - since


def weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def fingerprint(network: nn.Module, data: Data, settings: Network, task: Task, processes: Processes) -> str:
    """A hash of everything that determines the fit: initial weights, data, settings, seed, machine, library, code."""
    lesson = (task.lesson.temperature, task.lesson.alpha) if task.lesson else None
    machine = (choose_device().type, processes.count, torch.get_num_threads(), torch.__version__, code_digest())
    determinants = (settings.model_dump_json(exclude={"search"}), task.seed, task.epochs, lesson, machine)
    digest = hashlib.sha256(repr(determinants).encode())
    for columns in (data.train, data.validation):
        for column in (columns.numbers, columns.rows, columns.labels, columns.targets):
            if column is not None:
                digest.update(column.contiguous().numpy().data)
    for name, value in network.state_dict().items():
        digest.update(name.encode() + value.contiguous().numpy().tobytes())
    return digest.hexdigest()
