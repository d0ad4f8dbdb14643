"""Export trained adapters as a PEFT directory, beside the checkpoint that they are merged into."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from src.merging.tensors.lora_adapter import PREFIX, WEIGHTS
from src.models.adapters import NAME
from src.utils.ranks import is_main_process

FOLDER = "adapter"


def export_adapter(network: PreTrainedModel, directory: Path, base: str) -> None:
    """Write `adapter_model.safetensors` (float32) and `adapter_config.json`, which PEFT, vLLM and merge.py load.

    All ranks call this, and the first one writes.

    Args:
        network: With adapters, whole or sharded.
        directory: Where to; created.
        base: Directory or Hugging Face name of the checkpoint that the adapters were trained on.
    """
    tensors = {}
    for name, parameter in network.named_parameters():
        if f".{NAME}." in name and "lora_" in name:
            whole = parameter.full_tensor() if isinstance(parameter, DTensor) else parameter
            tensors[f"{PREFIX}{name.replace(f'.{NAME}.', '.')}"] = whole.detach().to("cpu", torch.float32).contiguous()
    if not is_main_process():
        return
    directory.mkdir(parents=True, exist_ok=True)
    save_file(tensors, directory / WEIGHTS, metadata={"format": "pt"})
    settings = copy.deepcopy(cast(Any, network).peft_config[NAME])
    settings.base_model_name_or_path, settings.inference_mode = base, True
    settings.target_modules = sorted(settings.target_modules)
    settings.save_pretrained(directory)
