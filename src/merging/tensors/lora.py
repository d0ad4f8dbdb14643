"""LoRA adapters as parents: W + scale * B A (arXiv 2106.09685), read from a PEFT directory without PEFT."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch

from src.checkpoints import Checkpoint, TensorInfo
from src.checkpoints.model_class import class_names
from src.merging.tensors.lora_settings import CONFIG, read_settings
from src.utils.errors import UserError, first_differences

WEIGHTS = "adapter_model.safetensors"
V = TypeVar("V")
PREFIX = "base_model.model."
PARTS = (".lora_A.weight", ".lora_B.weight", ".lora_embedding_A", ".lora_embedding_B")


def is_adapter(path: Path) -> bool:
    """True if a directory is a PEFT adapter."""
    return (path / CONFIG).is_file()


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
        self._base = base
        self._settings = read_settings(self.path)
        self._weights = Checkpoint(self.path, allow_pickle, weights=WEIGHTS)
        factors, replaced = self._sort()
        self._factors, self._replaced = self._in_the_base(factors), self._in_the_base(replaced)
        self._check()

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
        return frozenset({*self._factors, *self._replaced})

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
            return self._weights.tensor(self._replaced[name]).float()
        weight = self._base.tensor(name)
        return weight.float() + self._delta(name) if name in self._factors else weight

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

    def _delta(self, name: str) -> torch.Tensor:
        """scale * B A in float64, rounded once: the same on any number of threads."""
        down_name, up_name = self._factors[name]
        down, up = (self._weights.tensor(part).double() for part in (down_name, up_name))
        module = down_name.removeprefix(PREFIX).removesuffix(PARTS[0]).removesuffix(PARTS[2])
        product = up @ down * self._scale(module, down.shape[0])
        is_embedding = down_name.endswith(PARTS[2])
        return (product.T if is_embedding or self._settings.get("fan_in_fan_out") else product).float()

    def _scale(self, module: str, rank: int) -> float:
        alpha = self._settings["lora_alpha"]
        for pattern, value in (self._settings.get("alpha_pattern") or {}).items():
            if re.match(rf"(.*\.)?({pattern})$", module):
                alpha = value
                break
        return float(alpha) / (math.sqrt(rank) if self._settings.get("use_rslora") else rank)

    def _sort(self) -> tuple[dict[str, tuple[str, str]], dict[str, str]]:
        """Adapted tensor -> names of its factors A and B; replaced tensor -> name of its values."""
        found: dict[str, dict[int, str]] = {}
        replaced = {}
        for stored in self._weights.names:
            name = stored.removeprefix(PREFIX)
            part = next((index for index, end in enumerate(PARTS) if name.endswith(end)), None)
            if part is None:
                replaced[name.replace(".base_layer.", ".")] = stored
            else:
                found.setdefault(name.removesuffix(PARTS[part]) + ".weight", {})[part % 2] = stored
        alone = [name for name, parts in found.items() if len(parts) != 2]
        if alone:
            raise UserError(first_differences(f"{self.path} has only one of the two LoRA factors of", alone))
        factors = {name: (parts[0], parts[1]) for name, parts in found.items()}
        # PEFT also saves the frozen weight of an adapted embedding, which equals the base's
        return factors, {name: stored for name, stored in replaced.items() if name not in factors}

    def _in_the_base(self, found: Mapping[str, V]) -> dict[str, V]:
        """The same by the base's names: PEFT names modules as the class does, which a file need not."""
        if all(name in self._base.table for name in found):
            return dict(found)
        stored = {new: old for old, new in class_names(self._base.config, self._base.names).items()}
        names = class_names(self._base.config, list(found))
        return {stored.get(names.get(name, name), name): value for name, value in found.items()}

    def _check(self) -> None:
        absent = sorted(name for name in self.computed if name not in self._base.table)
        if absent:
            hint = "; the base ties its head to the embedding" if "lm_head.weight" in absent and self._base.tied else ""
            raise UserError(first_differences(f"{self.path} adapts tensors that {self._base.path} lacks{hint}", absent))
        for name in sorted(self.computed):
            expected = self._base.shape(name)
            got = tuple(self.tensor(name).shape) if name in self._replaced else self._factor_shape(name)
            if got != expected:
                raise UserError(
                    f"{self.path}: {name} has shape {list(got)}, expected {list(expected)}; is this its base?"
                )

    def _factor_shape(self, name: str) -> tuple[int, ...]:
        down, up = self._factors[name]
        shape = (self._weights.shape(up)[0], self._weights.shape(down)[1])
        flipped = down.endswith(PARTS[2]) or bool(self._settings.get("fan_in_fan_out"))
        return shape[::-1] if flipped else shape
