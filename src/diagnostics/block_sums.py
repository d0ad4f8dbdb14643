"""Sums over one block of the updates of K variants, in plain torch: the reference of `numba_block_sums`.

The second pass needs the largest magnitude and the histogram of the whole tensor, which the first one finds.

Shapes: K variants, C elements of a block, T thresholds, families of series as in `running_sums`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from src.diagnostics.running_sums import CoMoments, Doubles

BUCKETS = 1 << 15  # magnitudes truncated to bfloat16: 8 bits of exponent, 7 of mantissa
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class FirstPass:
    """What the first pass finds in a block.

    Args:
        moments: Of the raw updates, their signs (-1, 0, 1), and where they are not 0.
        peak_K: Largest magnitudes.
        base_square: Sum of the squared base.
    """

    moments: CoMoments
    peak_K: Doubles
    base_square: float


class BlockSums(Protocol):
    """Both passes over a block of stored values (K + 1, C), the base first: bfloat16, float32 or float64."""

    block: int
    """Elements in a block."""

    def first(self, stored: torch.Tensor, counts: Counts) -> FirstPass:
        """The first pass.

        Args:
            stored: The block.
            counts: Histogram (K, BUCKETS) of the magnitudes, truncated to bfloat16; the block is added to it.
        """
        ...

    def second(self, stored: torch.Tensor, cut_TK: Doubles, top_K: Counts) -> CoMoments:
        """Moments of the updates with magnitudes of at least `cut_TK`, the others 0, and of a mark of the largest.

        Args:
            stored: The block.
            cut_TK: Magnitudes.
            top_K: Lowest bucket of the largest elements.
        """
        ...


class TorchBlockSums:
    """Plain torch."""

    block = 1 << 16  # five series in float64 fit into a core's cache: eight times as fast as blocks of a million

    def first(self, stored: torch.Tensor, counts: Counts) -> FirstPass:
        """See `BlockSums`."""
        base_C, delta_KC = _deltas(stored)
        for row, bucket_C in zip(counts, _buckets(delta_KC), strict=True):
            row += np.bincount(bucket_C, minlength=BUCKETS)
        sign_KC = delta_KC.sign()
        moments = CoMoments.of_block(torch.stack([delta_KC, sign_KC, sign_KC.abs()]).numpy())
        return FirstPass(moments, delta_KC.abs().amax(dim=1).numpy(), float(base_C.square().sum()))

    def second(self, stored: torch.Tensor, cut_TK: Doubles, top_K: Counts) -> CoMoments:
        """See `BlockSums`."""
        _, delta_KC = _deltas(stored)
        size_KC = delta_KC.abs()
        kept = [delta_KC.where(size_KC >= torch.from_numpy(cut_K)[:, None], 0.0) for cut_K in cut_TK]
        top_KC = torch.from_numpy((_buckets(delta_KC) >= top_K[:, None]).astype(float)) * (size_KC > 0)
        return CoMoments.of_block(torch.stack([*kept, top_KC]).numpy())


def _deltas(stored: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    wide = stored.double()
    return wide[0], wide[1:] - wide[0]


def _buckets(delta_KC: torch.Tensor) -> Counts:
    bits: Counts = (delta_KC.abs().float().numpy().view(np.uint32) >> 16).astype(np.int64)
    return bits
