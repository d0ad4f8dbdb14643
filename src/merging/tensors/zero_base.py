"""A base whose weights are all zero: what is added to it are task vectors alone, and no weights are read."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import torch

from src.checkpoints import Checkpoint, TensorInfo


class ZeroBase(Checkpoint):
    """The floating-point tensors of a checkpoint, all zero, in float32; names and shapes are its own."""

    @cached_property
    def table(self) -> Mapping[str, TensorInfo]:
        """Name -> shape of every floating-point tensor, sorted by name."""
        stored = super().table
        return {
            name: TensorInfo(one.shape, torch.float32) for name, one in stored.items() if one.dtype.is_floating_point
        }

    def read_into(self, name: str, start: int, out: torch.Tensor) -> None:
        """Fill `out` with zeros."""
        out.zero_()

    def prefetch(self, name: str) -> None:
        """Do nothing: nothing is read."""
