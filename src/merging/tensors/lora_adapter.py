"""A PEFT directory with a LoRA adapter (arXiv 2106.09685): its updates by tensor, read without PEFT."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from src.checkpoints import Checkpoint
from src.checkpoints.model_class import StackedPart
from src.merging.tensors.lora_experts import WRAPPER, Layout, adapted_parameters, parameter_layout
from src.merging.tensors.lora_factors import Factors, unpack
from src.merging.tensors.lora_settings import CONFIG, read_settings
from src.utils.errors import UserError, first_differences

WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
EMBEDDING = (".lora_embedding_A", ".lora_embedding_B")
PARTS = (".lora_A.weight", ".lora_B.weight", *EMBEDDING)


@dataclass(frozen=True)
class Update:
    """The update of one tensor as it is stored.

    Args:
        target: Module or parameter that PEFT adapts, as the model class names it.
        down: Name of `lora_A` in the file.
        up: Name of `lora_B`.
        layout: Of both.
        rank: Inner dimension.
        scale: Factor on B A.
    """

    target: str
    down: str
    up: str
    layout: Layout
    rank: int
    scale: float

    @property
    def is_embedding(self) -> bool:
        """True if PEFT stores the factors as parameters of an embedding, not as layers."""
        return self.down.endswith(EMBEDDING[0])


class Adapter:
    """A LoRA adapter: the updates of some tensors, and the whole values of others.

    Args:
        path: PEFT directory.
        config: `config.json` of the base, which says how the class stacks experts.
        allow_pickle: See `Checkpoint`.

    Attributes:
        settings: Content of `adapter_config.json`.
        updates: By the adapted tensor's name in the model class.
        replaced: Names in the file of tensors that are stored whole (biases, `modules_to_save`), by the same.

    Raises:
        UserError: The adapter is of a different kind (DoRA, another PEFT method), or incomplete.
    """

    def __init__(self, path: Path, config: Mapping[str, Any], allow_pickle: bool = False) -> None:
        self.path = Path(path)
        self.settings = read_settings(self.path)
        self.weights = Checkpoint(self.path, allow_pickle, weights=WEIGHTS)
        self._config = config
        self._stored = lru_cache(maxsize=4)(self._read)  # stacked experts are asked for one at a time
        self.updates: dict[str, Update] = {}
        self.replaced: dict[str, str] = {}
        self._sort()

    def factors(self, name: str, part: StackedPart | None = None) -> Factors:
        """Factors of the update of tensor `name`, float64.

        Args:
            name: One of `updates`.
            part: Only these rows of one of the experts that `name` stacks.
        """
        found = self._stored(name) if part is not None else self._read(name)
        if part is not None:
            found = Factors(found.left[part.expert, part.start : part.stop], found.right[part.expert], found.scale)
        return Factors(found.left.double(), found.right.double(), found.scale)

    def _read(self, name: str) -> Factors:
        update = self.updates[name]
        down, up = self.weights.tensor(update.down), self.weights.tensor(update.up)
        return unpack(down, up, update.scale, update.layout.flipped, update.layout.experts)

    def _sort(self) -> None:
        found: dict[str, dict[int, str]] = {}
        for stored in self.weights.names:
            name = stored.removeprefix(PREFIX)
            part = next((index for index, end in enumerate(PARTS) if name.endswith(end)), None)
            if part is None:
                self.replaced[name.replace(f"{WRAPPER}.", ".")] = stored
            else:
                found.setdefault(name.removesuffix(PARTS[part]), {})[part % 2] = stored
        alone = [f"{place}.weight" for place, parts in found.items() if len(parts) != 2]
        if alone:
            raise UserError(first_differences(f"{self.path} has only one of the two LoRA factors of", alone))
        modules: dict[str, list[str]] = {}
        for place in sorted(found, key=len):
            modules.setdefault(_unwrapped(place), []).append(place)
        for module, places in modules.items():
            self._add(module, [(found[place][0], found[place][1]) for place in places])
        # PEFT also saves the frozen weight of an adapted embedding, which equals the base's
        self.replaced = {name: stored for name, stored in self.replaced.items() if name not in self.updates}

    def _add(self, module: str, pairs: list[tuple[str, str]]) -> None:
        """Add the updates of a module or of its parameters by the names of their factors, outermost wrapper first."""
        targets = self.settings.get("target_parameters") or []
        parameters = adapted_parameters(self.path, self._config, module, targets, len(pairs))
        for index, (down, up) in enumerate(pairs):
            inner, outer = self.weights.shape(down), self.weights.shape(up)
            if len(inner) != 2 or len(outer) != 2 or inner[0] != outer[1]:
                raise UserError(
                    f"{self.path}: the factors of {module} have shapes {list(inner)} and {list(outer)}, expected two "
                    "matrices of one rank; merge an adapter on convolutions with PEFT (merge_and_unload)"
                )
            if parameters:
                target, version = f"{module}.{parameters[index].name}", self.settings.get("peft_version")
                layout = parameter_layout(self.path, target, parameters[index], inner, outer, version)
            else:
                target = module
                flipped = down.endswith(EMBEDDING[0]) or bool(self.settings.get("fan_in_fan_out"))
                layout = Layout(f"{module}.weight", (outer[0], inner[1])[:: -1 if flipped else 1], flipped)
            rank = inner[0] // (layout.experts or 1)
            self.updates[layout.name] = Update(target, down, up, layout, rank, self._scale(target, rank))

    def _scale(self, module: str, rank: int) -> float:
        alpha = self.settings["lora_alpha"]
        for pattern, value in (self.settings.get("alpha_pattern") or {}).items():
            if re.match(rf"(.*\.)?({pattern})$", module):
                alpha = value
                break
        return float(alpha) / (math.sqrt(rank) if self.settings.get("use_rslora") else rank)


def _unwrapped(place: str) -> str:
    while place.endswith(WRAPPER):
        place = place.removesuffix(WRAPPER)
    return place


def is_adapter(path: Path) -> bool:
    """True if a directory is a PEFT adapter."""
    return (path / CONFIG).is_file()
