"""Were the specialists fine-tuned from this base? Told from the norms of a sample of their task vectors."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import torch

from src.merging.parent import Parent
from src.utils.errors import UserError
from src.utils.progress import say

TENSORS = 8
ELEMENTS = 1 << 17  # of each sampled tensor
UNRELATED = 0.9
TWINS = 0.9


def check_kinship(base: Parent, specialists: Mapping[str, Parent]) -> None:
    """Refuse a specialist that is as far from the base as unrelated weights; warn of a base they all left behind.

    Unrelated weights A, B are nearly orthogonal: |A - B|^2 is |A|^2 + |B|^2. A fine-tune stays well below, however
    hard it was trained. Two specialists whose task vectors point the same way (cosine above 0.9) probably share a
    fine-tuned ancestor that should be the base instead.

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
        apart = _square(deltas[label]) / max(_square(weights) + _square(origin), 1e-30)
        if apart > UNRELATED:
            raise UserError(
                f"{parent.path} ({label}) was not fine-tuned from {base.path}: its task vector is as long as between "
                f"unrelated weights (|A - B|^2 is {apart:.2f} of |A|^2 + |B|^2); name its own base, base=DIR"
            )
    for left, right in itertools.combinations(deltas, 2):
        cosine = float(deltas[left] @ deltas[right]) / max(
            math.sqrt(_square(deltas[left]) * _square(deltas[right])), 1e-30
        )
        if cosine > TWINS:
            say(
                f"warning: the task vectors of {left} and {right} are nearly parallel (cosine {cosine:.2f}); "
                f"is {base.path} the checkpoint they were fine-tuned from?"
            )


def _sample(base: Parent) -> list[str]:
    matrices = [name for name, info in base.table.items() if len(info.shape) > 1 and info.dtype.is_floating_point]
    return matrices[:: max(1, math.ceil(len(matrices) / TENSORS))]


def _read(checkpoint: Parent, names: list[str]) -> torch.Tensor:
    return torch.cat([checkpoint.flat(name, 0, min(ELEMENTS, checkpoint.table[name].numel)).double() for name in names])


def _square(values: torch.Tensor) -> float:
    return float(values.square().sum())
