"""Magnitude pruning (Han et al. 2015): the smallest weights of every linear layer become zero and stay zero.

Biases, norms and embeddings are not pruned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


def magnitude_masks(network: nn.Module, share: float) -> dict[str, Tensor]:
    """Which weights stay, by name of the parameter: all but the `floor(share * size)` smallest of each matrix.

    Of equal weights, the first ones are pruned.
    """
    masks = {}
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Linear):
            size = layer.weight.detach().abs().flatten()
            mask = torch.ones_like(size, dtype=torch.bool)
            mask[torch.argsort(size, stable=True)[: int(share * len(size))]] = False
            masks[f"{name}.weight"] = mask.view_as(layer.weight)
    return masks


@torch.no_grad()
def apply_masks(network: nn.Module, masks: Mapping[str, Tensor]) -> None:
    for name, mask in masks.items():
        weight = network.get_parameter(name)
        weight.masked_fill_(~mask.to(weight.device), 0.0)


def mask_hook(network: nn.Module, masks: Mapping[str, Tensor]) -> Callable[..., None]:
    """A hook after an optimizer's step that prunes again, since momentum and decay may move pruned weights."""

    def after_step(*_: Any) -> None:
        apply_masks(network, masks)

    return after_step


def zero_share(network: nn.Module) -> float:
    """Share of zeros among the weights of the linear layers."""
    weights = [layer.weight.detach() for layer in network.modules() if isinstance(layer, nn.Linear)]
    return float(sum((w == 0).sum() for w in weights)) / max(sum(w.numel() for w in weights), 1)
