"""LoRA adapters as parents: W + scale * B A (arXiv 2106.09685), read from a PEFT directory without PEFT."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import torch

from src.checkpoints import Checkpoint, TensorInfo
from src.checkpoints.model_class import StackedPart, class_names, stacked_parts
from src.merging.tensors.lora_adapter import Adapter
from src.merging.tensors.lora_factors import Factors
from src.utils.errors import UserError, first_differences

V = TypeVar("V")


@dataclass(frozen=True)
class Adapted:
    """A tensor of the base's file that an adapter updates.

    Args:
        name: Of the update in the adapter.
        part: Which part of that update, if the file has the experts apart.
    """

    name: str
    part: StackedPart | None = None


class LoraParent:
    """A LoRA adapter with the interface of a full checkpoint. Adapted tensors are computed in float32.

    Args:
        path: PEFT directory.
        base: The checkpoint it adapts.
        allow_pickle: See `Checkpoint`.

    Raises:
        UserError: The adapter is of a different kind (DoRA, another PEFT method), or does not match the base.
    """

    def __init__(self, path: Path, base: Checkpoint, allow_pickle: bool = False) -> None:
        self.path = Path(path)
        self.adapter = Adapter(path, base.config, allow_pickle)
        self._base = base
        self._adapted = self._apart(self._in_the_base({name: Adapted(name) for name in self.adapter.updates}))
        self._replaced = self._in_the_base(self.adapter.replaced)
        self._check()

    @property
    def adapted(self) -> Mapping[str, Adapted]:
        """The updated tensors by the base's names."""
        return self._adapted

    @property
    def names(self) -> tuple[str, ...]:
        """The base's names."""
        return self._base.names

    @property
    def config(self) -> Mapping[str, Any]:
        """The base's."""
        return self._base.config

    @property
    def tied(self) -> bool:
        """The base's."""
        return self._base.tied

    @property
    def computed(self) -> frozenset[str]:
        """The adapted tensors."""
        return frozenset({*self._adapted, *self._replaced})

    @cached_property
    def table(self) -> Mapping[str, TensorInfo]:
        """The base's table, with adapted tensors as float32."""
        return {
            name: TensorInfo(info.shape, torch.float32) if name in self.computed else info
            for name, info in self._base.table.items()
        }

    def tensor(self, name: str) -> torch.Tensor:
        """One tensor of the adapted model."""
        if name in self._replaced:
            return self.adapter.weights.tensor(self._replaced[name]).float()
        weight = self._base.tensor(name)
        # The update is computed in float64 and rounded once: the same on any number of threads.
        return weight.float() + self._update(name).product().float() if name in self._adapted else weight

    def factors(self, name: str) -> Factors | None:
        """Factors of a task vector, of rank 0 where the adapter has none; None if it is given only as a whole."""
        shape = self._base.shape(name)
        if name in self._adapted:
            return self._update(name)
        if name in self._replaced or len(shape) not in (2, 3):
            return None
        empty = partial(torch.zeros, dtype=torch.float64)
        return Factors(empty(*shape[:-1], 0), empty(*shape[:-2], 0, shape[-1]))

    def _update(self, name: str) -> Factors:
        adapted = self._adapted[name]
        return self.adapter.factors(adapted.name, adapted.part)

    def flat(self, name: str, start: int, stop: int) -> torch.Tensor:
        """Elements [start, stop) of a tensor, one-dimensional."""
        if name in self.computed:
            return self.tensor(name).reshape(-1)[start:stop]
        return self._base.flat(name, start, stop)

    def read_into(self, name: str, start: int, out: torch.Tensor) -> None:
        """Copy elements [start, start + len(out)) into `out`."""
        out.copy_(self.flat(name, start, start + out.numel()))

    def prefetch(self, name: str) -> None:
        """Do nothing: the base prefetches its own part."""

    def _in_the_base(self, found: Mapping[str, V]) -> dict[str, V]:
        """The same by the base's names: PEFT names modules as the class does, which a file need not."""
        if all(name in self._base.table for name in found):
            return dict(found)
        stored = {new: old for old, new in class_names(self._base.config, self._base.names).items()}
        names = class_names(self._base.config, list(found))
        return {stored.get(names.get(name, name), name): value for name, value in found.items()}

    def _apart(self, adapted: dict[str, Adapted]) -> dict[str, Adapted]:
        """Stacked experts by the names of their parts, where the file of the base has these."""
        stacked = {name for name, one in adapted.items() if self.adapter.updates[one.name].layout.experts}
        if not stacked - self._base.table.keys():
            return adapted
        parts = stacked_parts(self._base.config, {name: info.shape for name, info in self._base.table.items()})
        apart = {name: Adapted(part.name, part) for name, part in parts.items() if part.name in self.adapter.updates}
        there = {one.name for one in apart.values()}
        return {name: one for name, one in adapted.items() if one.name not in there} | apart

    def _check(self) -> None:
        absent = sorted(name for name in self.computed if name not in self._base.table)
        if absent:
            hint = "; the base ties its head to the embedding" if "lm_head.weight" in absent and self._base.tied else ""
            raise UserError(first_differences(f"{self.path} adapts tensors that {self._base.path} lacks{hint}", absent))
        for name in sorted(self.computed):
            expected, got = self._base.shape(name), self._shape(name)
            if got != expected:
                raise UserError(
                    f"{self.path}: {name} has shape {list(got)}, expected {list(expected)}; is this its base?"
                )

    def _shape(self, name: str) -> tuple[int, ...]:
        if name in self._replaced:
            return self.adapter.weights.shape(self._replaced[name])
        adapted = self._adapted[name]
        shape = self.adapter.updates[adapted.name].layout.shape
        return shape if adapted.part is None else (adapted.part.stop - adapted.part.start, *shape[2:])
