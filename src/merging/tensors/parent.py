"""Parents of a merge: checkpoints, and views with the same interface."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from src.checkpoints import Checkpoint, TensorInfo
from src.merging.tensors.lora import LoraParent
from src.merging.tensors.lora_adapter import is_adapter
from src.utils.errors import UserError


class Parent(Protocol):
    """A base or a specialist: a `Checkpoint`, a LoRA adapter of the base, or one of them with reordered rows."""

    @property
    def path(self) -> Path:
        """Directory of the files."""
        ...

    @property
    def table(self) -> Mapping[str, TensorInfo]:
        """Shapes and dtypes by name, sorted."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """Tensor names, sorted."""
        ...

    @property
    def config(self) -> Mapping[str, Any]:
        """The parsed `config.json`."""
        ...

    @property
    def tied(self) -> bool:
        """True if the output head shares the input embedding."""
        ...

    @property
    def computed(self) -> frozenset[str]:
        """Tensors that are computed in float32 instead of stored."""
        ...

    def tensor(self, name: str) -> torch.Tensor:
        """One tensor."""
        ...

    def flat(self, name: str, start: int, stop: int) -> torch.Tensor:
        """Elements [start, stop) of a tensor in storage order, one-dimensional."""
        ...

    def read_into(self, name: str, start: int, out: torch.Tensor) -> None:
        """Copy elements [start, start + len(out)) into `out`."""
        ...

    def prefetch(self, name: str) -> None:
        """Start reading a tensor that will be needed soon."""
        ...


def open_parents(
    base: Path, specialists: Mapping[str, Path], allow_pickle: bool = False
) -> tuple[Checkpoint, dict[str, Parent]]:
    """Open base and specialists; a directory with an `adapter_config.json` is a LoRA adapter of the base.

    Args:
        base: Checkpoint directory.
        specialists: Checkpoint or PEFT adapter directories by name.
        allow_pickle: See `Checkpoint`.

    Raises:
        UserError: A directory holds neither, or an adapter kind that cannot be merged; the message has all of them.
    """
    opened = Checkpoint(base, allow_pickle)
    parents: dict[str, Parent] = {}
    problems = []
    for name, path in specialists.items():
        try:
            adapter = is_adapter(path)
            parents[name] = LoraParent(path, opened, allow_pickle) if adapter else Checkpoint(path, allow_pickle)
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError("; ".join(problems))
    return opened, parents
