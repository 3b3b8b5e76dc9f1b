"""Fitting a network: AdamW (Loshchilov & Hutter 2019) over permutations of whole columns, in one process or several.

The result depends on the data, the settings and the seed alone, given the number of threads on CPU: permutations,
dropout and the learning rate are functions of the seed and the epoch, so that a fit which was killed goes on from its
checkpoint to the same bits. Where a GPU is present, the forward pass runs in bfloat16, which needs no loss scaling.
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
from pipelines.training.processes import Processes, chosen_device
from pipelines.training.pruning import apply_masks, keeping
from pipelines.training.tasks import Task

log = logging.getLogger(__name__)

PREDICTED = 4096  # rows predicted at once


@dataclass(frozen=True)
class Columns:
    """Whole columns: numbers (N, n), rows (N, m), labels (N, T), NaN where unknown, and a teacher's targets (N,)."""

    numbers: Tensor
    rows: Tensor
    labels: Tensor
    targets: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def inputs(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        return self.numbers.index_select(0, positions), self.rows.index_select(0, positions)

    def to(self, device: torch.device) -> Columns:
        targets = None if self.targets is None else self.targets.to(device)
        return Columns(self.numbers.to(device), self.rows.to(device), self.labels.to(device), targets)


@dataclass(frozen=True)
class Data:
    """What a network is fitted on and stopped by.

    Attributes:
        task_weight: (T,), of each task's mean loss.
    """

    train: Columns
    validation: Columns
    task_weight: Tensor

    def to(self, device: torch.device) -> Data:
        return Data(self.train.to(device), self.validation.to(device), self.task_weight.to(device))


def rate(step: int, steps: int, warmup: int) -> float:
    """The learning rate of a step as a share of the highest: a linear rise over `warmup` steps, a cosine to zero."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def losses(log_odds: Tensor, labels: Tensor, positive_weight: Tensor, gamma: float) -> Tensor:
    """Loss (N, T) of each label: (1 - p)^gamma times the log loss, p the probability given to what happened.

    That is the focal loss (Lin et al. 2017). Unknown labels lose nothing.

    Args:
        positive_weight: (T,), what label 1 counts where label 0 counts 1.
    """
    known = torch.nan_to_num(labels)
    loss = functional.binary_cross_entropy_with_logits(log_odds, known, reduction="none", pos_weight=positive_weight)
    if gamma:
        plain = functional.binary_cross_entropy_with_logits(log_odds, known, reduction="none")
        loss = loss * (-torch.expm1(-plain)).clamp_min(1e-7) ** gamma
    return torch.where(torch.isnan(labels), torch.zeros_like(loss), loss)


@dataclass(frozen=True)
class Loop:
    """One fit.

    Attributes:
        task_weight: (T,), of each task's mean loss.
        lesson: of the teacher whose targets `train` has.
    """

    network: nn.Module
    train: Columns
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
        """Biases, norms and other vectors do not decay."""
        parameters = list(self.network.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": self.settings.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW([g for g in groups if g["params"]], lr=self.settings.learning_rate, fused=True)

    def positive_weight(self) -> Tensor:
        """(T,): the setting is about the label; other tasks count both sides alike."""
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
            known = (~self.train.labels[batch].isnan()).sum(dim=0).clamp_min(1)
            mine = self.processes.share(batch)
            with torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda"):
                log_odds = network(*self.train.inputs(mine), len(weight))
            lost = losses(log_odds.float(), self.train.labels[mine], weight, settings.focal_gamma)
            if self.lesson and self.train.targets is not None:
                unknown = self.train.labels[mine, 0].isnan()
                lost = self.lesson.losses(lost, log_odds.float(), self.train.targets[mine], ~unknown)
            optimizer.zero_grad()
            (lost.sum(dim=0) / known * self.task_weight).sum().backward()  # type: ignore[no-untyped-call]
            self.processes.sum_gradients(parameters)
            nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
            optimizer.step()
            progress.advance(bar)
        progress.remove_task(bar)

    def validation_loss(self, held: Columns) -> float:
        """Mean loss of the label, the one that is trained on: the log loss where classes weigh alike and gamma is 0."""
        mine = self.processes.share(torch.arange(len(held), device=held.labels.device))
        odds = log_odds(self.network, *held.inputs(mine)).double()
        lost = losses(odds, held.labels[mine, :1].double(), self.positive_weight()[:1], self.settings.focal_gamma)
        return float(self.processes.sum(lost.sum())) / max(len(held), 1)

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
    """Fit a network in place, from its newest checkpoint if there is one, and give the epochs that it was fitted for.

    Keeps the epoch with the lowest validation loss, and stops when `patience` epochs brought no better; where
    `task.epochs` is given, it keeps the last of them. The learning rate falls as if all `settings.epochs` were run.
    Leaves the network on the CPU.

    Args:
        task: of which the seed, the lesson, `epochs`, `checkpoints` and `report` are read.
        masks: by parameter, which of its weights may be other than zero.
    """
    processes, device, masks = Processes.joined(), chosen_device(), masks or {}
    epochs = settings.epochs if task.epochs is None else task.epochs
    apply_masks(network, masks)
    checkpoints = Checkpoints(task.checkpoints, fingerprint(network, data, settings, task, processes))
    network.to(device)
    data = data.to(device)
    loop = Loop(network, data.train, settings, task.seed, data.task_weight, processes, task.lesson)
    optimizer = loop.optimizer()
    optimizer.register_step_post_hook(keeping(network, masks))
    epoch, since, best, kept = 0, 0, math.inf, weights(network)
    if state := checkpoints.parse(processes.hear(checkpoints.read() if processes.leads else None)):
        epoch, since, best, kept = state["epoch"], state["since"], state["best"], state["kept"]
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        log.info("goes on after epoch %d of %d", epoch, settings.epochs)
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
                best, kept = loss, weights(network)
            log.info("epoch %d of %d: validation loss %.5f", epoch, settings.epochs, loss)
            if processes.leads:
                current, moments = network.state_dict(), optimizer.state_dict()
                checkpoints.save(
                    State(epoch=epoch, since=since, best=best, kept=kept, network=current, optimizer=moments)
                )
            if task.report:
                task.report(epoch, loss)
    network.load_state_dict(kept)
    network.cpu()
    return epoch - since


def weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def fingerprint(network: nn.Module, data: Data, settings: Network, task: Task, processes: Processes) -> str:
    """Of all that decides the fit: initial weights, data, settings, seed, device, processes, threads, library, code."""
    lesson = (task.lesson.temperature, task.lesson.alpha) if task.lesson else None
    machine = (chosen_device().type, processes.count, torch.get_num_threads(), torch.__version__, code_digest())
    facts = (settings.model_dump_json(exclude={"search"}), task.seed, task.epochs, lesson, machine)
    digest = hashlib.sha256(repr(facts).encode())
    for columns in (data.train, data.validation):
        for column in (columns.numbers, columns.rows, columns.labels, columns.targets):
            if column is not None:
                digest.update(column.contiguous().numpy().data)
    for name, value in network.state_dict().items():
        digest.update(name.encode() + value.contiguous().numpy().tobytes())
    return digest.hexdigest()
