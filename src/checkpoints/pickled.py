"""Pickled weights, read only if the user allows it."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch

from src.checkpoints.layout import TensorInfo
from src.utils.errors import UserError

ADAPTER_PICKLE = "adapter_model.bin"


def pickle_files(directory: Path) -> list[Path]:
    """List the pickled weights of a directory that transformers would read: one file, else shards."""
    single = directory / "pytorch_model.bin"
    return [single] if single.is_file() else sorted(directory.glob("pytorch_model*.bin"))


def adapter_pickles(directory: Path) -> list[Path]:
    """List the `adapter_model.bin` of a PEFT directory that is older than safetensors."""
    return [path for path in (directory / ADAPTER_PICKLE,) if path.is_file()]


class PickledWeights:
    """Tensors of pickled files, memory-mapped where they can be; `weights_only` keeps code in the file from running.

    Args:
        files: For example the `pytorch_model*.bin` of a directory.

    Raises:
        UserError: A file is corrupt or holds more than tensors.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._tensors: dict[str, torch.Tensor] = {}
        for path in files:
            try:
                # files older than PyTorch 1.6 are no zip archives and cannot be mapped
                self._tensors |= torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
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
