"""Sums that depend only on the values: the same on any number of threads, compiled or not.

Additions follow a tree of halves over 4,096 elements, which any vector unit or device reproduces bit for bit. Add the
parts with `math.fsum`, which is exact: a total then does not depend on how a tensor was cut into blocks.
"""

from __future__ import annotations

import numpy as np
import torch

UNIT = 1 << 12  # elements; blocks begin at multiples of it


def deterministic_sums(values: torch.Tensor, power: int) -> list[float]:
    """Sums of |values| (power 1) or values^2 (power 2) over 4,096 elements each, in float64.

    Args:
        values: (n,), float32; they begin at a multiple of 4,096 in their tensor.
        power: 1 or 2.
    """
    wide = values.double()
    return _parts(wide.abs() if power == 1 else wide.square())


def deterministic_product_sums(*factors: torch.Tensor) -> list[float]:
    """Sums of the element-wise product of float32 tensors (n,) over 4,096 elements each, in float64."""
    product = factors[0].double()
    for factor in factors[1:]:
        product = product * factor.double()
    return _parts(product)


def tree_sum(values: torch.Tensor) -> torch.Tensor:
    """Sum over the last dimension by halves; its length is padded with zeros to a power of two."""
    length = values.shape[-1]
    values = torch.nn.functional.pad(values, (0, (1 << max(length - 1, 0).bit_length()) - length))
    while values.shape[-1] > 1:
        half = values.shape[-1] // 2
        values = values[..., :half] + values[..., half:]
    return values[..., 0]


def _small_tree_sum(values: torch.Tensor) -> float:
    """`tree_sum` of one row; for a few hundred elements, torch takes several times as long as numpy."""
    size = values.numel()
    tree = np.zeros(1 << (size - 1).bit_length())
    tree[:size] = values.cpu().numpy()
    while tree.size > 1:
        half = tree.size // 2
        tree = tree[:half] + tree[half:]
    return float(tree[0])


def _parts(wide: torch.Tensor) -> list[float]:
    if 0 < wide.numel() < UNIT:  # the tree over fewer leaves: adding the zeros that it lacks would change no bit
        return [_small_tree_sum(wide)]
    padded = torch.nn.functional.pad(wide, (0, -wide.numel() % UNIT))
    sums: list[float] = tree_sum(padded.reshape(-1, UNIT)).tolist()
    return sums
