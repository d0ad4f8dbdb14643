"""Pickled weights, read only if the user allows it."""

from __future__ import annotations

import pickle
from functools import cached_property
from pathlib import Path

import torch

from src.checkpoints.layout import TensorInfo
from src.utils.errors import UserError


def pickle_files(directory: Path) -> list[Path]:
    """List the `pytorch_model*.bin` files of a directory."""
    return sorted(directory.glob("pytorch_model*.bin"))


class PickledWeights:
    """Tensors of `pytorch_model*.bin`, memory-mapped; `weights_only` keeps code in the file from running.

    Raises:
        UserError: A file is corrupt or holds more than tensors.
    """

    def __init__(self, directory: Path) -> None:
        self._tensors: dict[str, torch.Tensor] = {}
        for path in pickle_files(directory):
            try:
                self._tensors |= torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, TypeError) as error:
                raise UserError(
                    f"{path} is corrupt or holds more than tensors: {str(error).splitlines()[0]}"
                ) from error

    @cached_property
    def table(self) -> dict[str, TensorInfo]:
        """Name -> shape and dtype."""
        return {name: TensorInfo(tuple(tensor.shape), tensor.dtype) for name, tensor in self._tensors.items()}

    def tensor(self, name: str) -> torch.Tensor:
        """Return one tensor, contiguous."""
        return self._tensors[name].contiguous()
