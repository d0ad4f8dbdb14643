"""Write updates as a PEFT adapter that PEFT, transformers and vLLM load."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from src.merging.tensors.lora_adapter import EMBEDDING, PARTS, PREFIX, WEIGHTS, Adapter, Update
from src.merging.tensors.lora_experts import Wrapper, wrappers_of
from src.merging.tensors.lora_factors import Factors, pack, pad
from src.merging.tensors.lora_settings import CONFIG
from src.utils.errors import UserError
from src.utils.files import write_json

HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")
SHARED = ("task_type", "auto_mapping", "base_model_name_or_path", "revision")  # kept where all adapters agree


@dataclass(frozen=True)
class NewUpdate:
    """An update that is to be written.

    Args:
        like: An update of the same tensor, which has the layout.
        factors: The new values.
    """

    like: Update
    factors: Factors


def check_alike(adapters: Mapping[str, Adapter]) -> None:
    """Require that adapters can be merged into one: only low-rank updates, stored the same way.

    Raises:
        UserError: One holds whole tensors, or two store a tensor's update differently.
    """
    layouts: dict[str, Update] = {}
    for label, adapter in adapters.items():
        if adapter.replaced:
            raise UserError(
                f"{adapter.path} ({label}) also holds whole tensors (bias or modules_to_save): "
                f"{', '.join(sorted(adapter.replaced)[:3])}; merge into a full checkpoint instead, without adapter="
            )
        for name, update in adapter.updates.items():
            other = layouts.setdefault(name, update)
            experts = update.layout.experts is not None  # versions of PEFT differ, and all are read
            if other.is_embedding != update.is_embedding or (other.layout != update.layout and not experts):
                raise UserError(
                    f"{adapter.path} ({label}) stores the update of {name} differently from the other adapters "
                    "(fan_in_fan_out); merge into a full checkpoint instead, without adapter="
                )


def write_adapter(
    directory: Path,
    updates: Mapping[str, NewUpdate],
    adapters: Sequence[Adapter],
    base: Path,
    config: Mapping[str, Any],
    dtype: torch.dtype,
) -> None:
    """Write `adapter_model.safetensors` and `adapter_config.json`.

    The scale of an update goes into its factors, and alpha equals the rank, so that a loader which ignores the patterns
    of ranks and alphas still scales by one.

    Args:
        directory: Where to.
        updates: By the name of the adapted tensor.
        adapters: Those that were merged.
        base: Named as the base unless all adapters name the same one of the Hub.
        config: `config.json` of the base.
        dtype: Of the factors.

    Raises:
        UserError: Values overflow `dtype`.
    """
    targets = {name: update.like.target for name, update in updates.items()}
    parameters = [name for name, target in targets.items() if name == target]  # a module's weight has its own name
    rank = max(updates[name].factors.rank for name in parameters or updates)
    # PEFT warns that patterns of ranks do not match parameters (although it follows them), so these get the same rank.
    factors = {name: pad(one.factors, rank) if name in parameters else one.factors for name, one in updates.items()}
    wrappers = wrappers_of(config, parameters)
    tensors: dict[str, torch.Tensor] = {}
    for name, update in updates.items():
        wrapper = wrappers.get(name, Wrapper(targets[name], update.like.layout.flipped))
        tensors |= _stored(NewUpdate(update.like, factors[name]), wrapper, dtype)
    save_file(tensors, directory / WEIGHTS, metadata={"format": "pt"})
    ranks = {targets[name]: update.rank for name, update in factors.items()}
    write_json(directory / CONFIG, _settings(rank, ranks, parameters, adapters, base))


def _stored(update: NewUpdate, wrapper: Wrapper, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """`lora_A` and `lora_B` of an update by their names in the file."""
    ends = EMBEDDING if update.like.is_embedding else PARTS[:2]
    found = {}
    for end, values in zip(ends, pack(update.factors, wrapper.flipped), strict=True):
        name = f"{PREFIX}{wrapper.place}{end}"
        found[name] = values.to(dtype).cpu().contiguous()
        if not torch.isfinite(found[name]).all():
            raise UserError(f"{name} overflows {str(dtype).removeprefix('torch.')}; set merge.dtype=float32")
    return found


def _settings(
    rank: int, ranks: Mapping[str, int], parameters: Sequence[str], adapters: Sequence[Adapter], base: Path
) -> dict[str, Any]:
    others = {target: own for target, own in ranks.items() if own != rank}
    first = adapters[0].settings
    shared = {key: first.get(key) for key in SHARED if all(one.settings.get(key) == first.get(key) for one in adapters)}
    named = str(shared.get("base_model_name_or_path"))
    if not HUB_NAME.fullmatch(named) or Path(named).exists():  # a path, which may not be there from elsewhere
        shared |= {"base_model_name_or_path": str(base.absolute()), "revision": None}
    return {
        "peft_type": "LORA",
        **shared,
        "r": rank,
        "lora_alpha": rank,
        "rank_pattern": others,
        "alpha_pattern": others,
        "target_modules": [target for target in ranks if target not in parameters],
        "target_parameters": list(parameters) or None,
        "fan_in_fan_out": bool(first.get("fan_in_fan_out")),
        "use_rslora": False,
        "use_dora": False,
        "bias": "none",
        "lora_dropout": 0.0,
        "init_lora_weights": True,
        "inference_mode": True,
        "peft_version": "0.19.1",  # the layout of square experts, see `lora_experts`
    }
