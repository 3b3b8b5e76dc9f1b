"""The processes that fit one network together (`torchrun`), or the single process, and their device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn


def choose_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Processes:
    """Every process holds all rows and the same weights, and works on its share of each batch."""

    rank: int = 0
    count: int = 1

    @classmethod
    def joined(cls) -> Processes:
        """The processes of the group that this process has joined; this process alone if there is none."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    @property
    def leads(self) -> bool:
        """Whether this process is the leading one, which writes."""
        return self.rank == 0

    def share(self, batch: Tensor) -> Tensor:
        """This process's part of a batch of positions; it may be empty."""
        return batch.tensor_split(self.count)[self.rank]

    def sum(self, value: Tensor) -> Tensor:
        """The sum over all processes, in place and equal in all of them."""
        if self.count > 1:
            dist.all_reduce(value)
        return value

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Sum the gradients in one message. Each is a sum over rows that was divided by the whole batch's rows."""
        if self.count == 1:
            return
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = self.sum(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        for parameter, part in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
            parameter.grad = part.view_as(parameter)

    def hear(self, content: bytes | None) -> bytes | None:
        """The content that the leading process has read."""
        if self.count == 1:
            return content
        size = self.sum(torch.tensor([len(content) if content is not None and self.leads else 0]))
        message = torch.zeros(int(size), dtype=torch.uint8)
        if self.leads and content:
            message = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        if len(message):
            dist.broadcast(message, 0)
        return message.numpy().tobytes() or None
