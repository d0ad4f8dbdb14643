"""Were the specialists fine-tuned from this base? Told from the angles between samples of their weights."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import torch

from src.merging.tensors.parent import Parent
from src.utils.errors import UserError
from src.utils.progress import say

TENSORS = 8
ELEMENTS = 1 << 17  # of each sampled tensor
UNRELATED = 0.1  # cosine
TWINS = 0.9


def check_kinship(base: Parent, specialists: Mapping[str, Parent]) -> None:
    """Refuse a specialist whose weights have nothing of the base's; warn of a base they all left behind.

    Unrelated weights are nearly orthogonal. A fine-tune keeps its base's share however hard it was trained: where it
    has moved six times the base's own length, the cosine is still 0.16. Two specialists whose task vectors point the
    same way (cosine above 0.9) probably share a fine-tuned ancestor that should be the base instead.

    Raises:
        UserError: A specialist comes from another base.
    """
    names = _sample(base)
    if not names:
        return
    origin = _read(base, names)
    deltas = {}
    for label, parent in specialists.items():
        weights = _read(parent, names)
        deltas[label] = weights - origin
        likeness = _cosine(weights, origin)
        if likeness < UNRELATED:
            raise UserError(
                f"{parent.path} ({label}) was not fine-tuned from {base.path}: the weights are as unlike as "
                f"unrelated ones (cosine {likeness:.2f}); name its own base, base=DIR"
            )
    for left, right in itertools.combinations(deltas, 2):
        likeness = _cosine(deltas[left], deltas[right])
        if likeness > TWINS:
            say(
                f"warning: the task vectors of {left} and {right} are nearly parallel (cosine {likeness:.2f}); "
                f"is {base.path} the checkpoint they were fine-tuned from?"
            )


def _sample(base: Parent) -> list[str]:
    matrices = [name for name, info in base.table.items() if len(info.shape) > 1 and info.dtype.is_floating_point]
    return matrices[:: max(1, math.ceil(len(matrices) / TENSORS))]


def _read(checkpoint: Parent, names: list[str]) -> torch.Tensor:
    return torch.cat([checkpoint.flat(name, 0, min(ELEMENTS, checkpoint.table[name].numel)).double() for name in names])


def _cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(one @ other) / max(float(one.norm() * other.norm()), 1e-30)
