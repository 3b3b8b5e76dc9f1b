"""Rows a second of every torch family in training: epochs of the loop alone, without reading, validation or export.

The families take turns, epoch by epoch, with one thread and with two, on random columns of the reference use case's
shape. Since the machine may be shared, a family's fastest epoch and its CPU seconds are given too.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from rich.progress import Progress

from benchmarks.ground import Ground
from benchmarks.report import RESULTS, machine, save
from pipelines.configuration import load_params
from pipelines.training.families.dcn_v2 import DeepAndCross
from pipelines.training.families.ft_transformer import Transformer
from pipelines.training.families.mlp import Perceptron
from pipelines.training.families.mmoe import Mixture
from pipelines.training.networks import Shape
from pipelines.training.processes import Processes
from pipelines.training.torch_loop import Loop, TensorColumns

GROUND = Ground("benchmarks.torch_training", ("training",))
NUMBERS, MARKS, TABLE = 60, 86, (18, 5, 98)  # of the reference use case: inputs, marks, strings by column
SLOW = {"ft_transformer"}  # on a tenth of the rows


@dataclass
class Run:
    """Epochs of one family."""

    family: str
    threads: int
    loop: Loop
    optimizer: torch.optim.Optimizer
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def epoch(self) -> None:
        torch.set_num_threads(self.threads)
        wall, cpu = time.perf_counter(), time.process_time()
        self.loop.epoch(len(self.wall), self.optimizer, Progress(disable=True))
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)

    def row(self) -> str:
        rows, wall, cpu = len(self.loop.train), self.wall[1:], self.cpu[1:]  # the first one is a warm-up
        weights = sum(p.numel() for p in self.loop.network.parameters())
        return (
            f"| {self.family} | {weights} | {rows} | {self.threads} | {rows / statistics.median(wall):.0f} "
            f"| {rows / min(wall):.0f} | {rows / statistics.median(cpu):.0f} |"
        )


def drawn(rows: int, tasks: int) -> tuple[TensorColumns, Shape]:
    draw = torch.Generator().manual_seed(1)
    numbers = torch.randn(rows, NUMBERS, generator=draw)
    marks = (torch.rand(rows, MARKS, generator=draw) < 0.02).float()
    starts = torch.tensor([sum(TABLE[:n]) for n in range(len(TABLE))])
    strings = (torch.rand(rows, len(TABLE), generator=draw) * torch.tensor(TABLE)).long() + starts
    labels = (torch.rand(rows, tasks, generator=draw) < torch.sigmoid(numbers[:, :1] - 1)).float()
    shape = Shape(NUMBERS, tuple(n % NUMBERS for n in range(MARKS)), len(TABLE), sum(TABLE))
    return TensorColumns(torch.cat([numbers, marks], dim=1), strings, labels), shape


def start(family: str, threads: int, rows: int) -> Run:
    settings: Any = getattr(load_params("params.yaml").training, family)
    tasks = 2 if family == "mmoe" else 1
    data, shape = drawn(rows // 10 if family in SLOW else rows, tasks)
    torch.manual_seed(1)
    networks: dict[str, Callable[[], torch.nn.Module]] = {
        "mlp": lambda: Perceptron(shape, settings, 0.0),
        "dcn_v2": lambda: DeepAndCross(shape, settings, 0.0),
        "ft_transformer": lambda: Transformer(shape, settings, 0.0),
        "mmoe": lambda: Mixture(shape, settings, [0.0, 0.0]),
    }
    loop = Loop(networks[family](), data, settings, 1, torch.ones(tasks), Processes())
    return Run(family, threads, loop, loop.optimizer())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=250_000)
    parser.add_argument("--epochs", type=int, default=6, help="the first one is not counted")
    parser.add_argument("--families", nargs="+", default=["mlp", "dcn_v2", "ft_transformer", "mmoe"])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    asked = parser.parse_args()
    runs = [start(family, threads, asked.rows) for family in asked.families for threads in asked.threads]
    for _ in range(asked.epochs):
        for run in runs:
            run.epoch()
    threads = " ".join(map(str, asked.threads))
    command = f"python -m benchmarks.torch_training --rows {asked.rows} --epochs {asked.epochs} --threads {threads}"
    lines = [
        "# Training speed of the networks",
        "",
        f"Epochs of the loop alone, with the settings of `params.yaml`, on {NUMBERS} numbers, {MARKS} marks and",
        f"{len(TABLE)} strings a row. The families take turns. Rows a second: of the median epoch, of the fastest one,",
        "and for each second of CPU time (of all threads together).",
        "",
        "| family | weights | rows | threads | rows/s | rows/s, fastest | rows per CPU second |",
        "|---|---|---|---|---|---|---|",
        *[run.row() for run in runs],
        "",
        f"`{command}`,",
        f"on {machine('torch', load=os.getloadavg()[0])} at the end.",
    ]
    save(RESULTS / "torch_training.md", "\n".join(lines), GROUND)


if __name__ == "__main__":
    main()
