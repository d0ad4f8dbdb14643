"""Gradients of several tasks at one point.

K tasks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

import numpy as np
import torch
from lightning.fabric.utilities import move_data_to_device
from numpy.typing import NDArray
from transformers import PreTrainedModel

from src.data.batches import HeldOutRows
from src.lit_modules.loss import token_losses


@dataclass(frozen=True)
class GradientProducts:
    """Inner products of the gradients of tasks.

    Args:
        products: (K, K).
    """

    products: NDArray[np.float64]

    @property
    def distance(self) -> float:
        """L2 distance, mean over pairs."""
        square = self.products.diagonal()
        return fmean(math.sqrt(max(0.0, square[i] + square[j] - 2 * self.products[i, j])) for i, j in self._pairs())

    @property
    def cosine(self) -> float:
        """Cosine, mean over pairs; 0 where a gradient is 0."""
        norm = np.sqrt(self.products.diagonal())
        return fmean(
            float(self.products[i, j] / (norm[i] * norm[j])) if norm[i] * norm[j] > 0 else 0.0 for i, j in self._pairs()
        )

    def _pairs(self) -> list[tuple[int, int]]:
        return list(combinations(range(len(self.products)), 2))


def gradient_products(network: PreTrainedModel, rows: Mapping[str, HeldOutRows]) -> GradientProducts:
    """Products of the gradients of the mean loss of an answer token of each task, over all parameters.

    One gradient per task is in memory. The network's own gradients are left empty.

    Args:
        network: In evaluation mode.
        rows: By task.
    """
    network.requires_grad_(True)
    network.zero_grad()
    gradients = [_gradient(network, one) for one in rows.values()]
    found = np.zeros((len(gradients), len(gradients)))
    for i, one in enumerate(gradients):
        for j, other in enumerate(gradients[: i + 1]):
            dots = (torch.dot(a.flatten().double(), b.flatten().double()) for a, b in zip(one, other, strict=True))
            found[i, j] = found[j, i] = math.fsum(float(dot) for dot in dots)
    return GradientProducts(found)


@torch.enable_grad()
def _gradient(network: PreTrainedModel, rows: HeldOutRows) -> list[torch.Tensor]:
    tokens = int(rows.answer_tokens.sum())
    for micro in rows.batches:
        (token_losses(network, move_data_to_device(micro, network.device)).sum() / tokens).backward()
    found = [torch.zeros_like(p) if p.grad is None else p.grad.detach().clone() for p in network.parameters()]
    network.zero_grad()
    return found
