"""Sums that depend on nothing but the values: the same on any number of threads, with or without a compiler."""

from __future__ import annotations

import torch

UNIT = 1 << 12  # elements; blocks begin at multiples of it


def folded(values: torch.Tensor, power: int) -> list[float]:
    """Sums of |values| (power 1) or values^2 (power 2) over 4,096 elements each, float64, in one fixed order.

    The order is a tree of halves, which any vector unit or device reproduces to the last bit. Add the parts with
    `math.fsum`, which is exact: the total then does not depend on how a tensor was cut into blocks.

    Args:
        values: (n,), float32; the first of them is at a multiple of 4,096 in its tensor.
        power: 1 or 2.
    """
    wide = values.double()
    wide = wide.abs() if power == 1 else wide.square()
    parts = torch.nn.functional.pad(wide, (0, -values.numel() % UNIT)).reshape(-1, UNIT)
    while parts.shape[1] > 1:
        half = parts.shape[1] // 2
        parts = parts[:, :half] + parts[:, half:]
    sums: list[float] = parts[:, 0].tolist()
    return sums
