"""Settings of a PEFT adapter: those that the merge implements, those that do not matter to it, and all others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from src.utils.errors import UserError

CONFIG = "adapter_config.json"
IMPLEMENTED = (
    "peft_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "fan_in_fan_out", "target_parameters"
)  # fmt: skip
SEEN_IN_THE_WEIGHTS = (  # they decide which tensors the adapter holds
    "bias", "modules_to_save", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern",
)  # fmt: skip
NOT_OF_THE_RESULT = (  # of training, loading, origin; initializations have a check of their own
    "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode",
    "lora_dropout", "megatron_config", "megatron_core", "loftq_config", "eva_config", "corda_config",
    "lora_ga_config", "qalora_group_size", "runtime_config", "init_lora_weights",
)  # fmt: skip
KNOWN = {*IMPLEMENTED, *SEEN_IN_THE_WEIGHTS, *NOT_OF_THE_RESULT}
# These leave the base as it is; all others (pissa, olora, corda, loftq, lora_ga) subtract the first factors from it.
PLAIN_STARTS = (None, True, False, "gaussian", "orthogonal", "eva")


def read_settings(path: Path) -> dict[str, Any]:
    """Read and check the configuration of an adapter.

    Raises:
        UserError: It is none of LoRA, or has settings that a merge would have to follow and does not; they are named.
    """
    try:
        settings = json.loads((path / CONFIG).read_text(encoding="utf-8"))
        kind, _ = settings["peft_type"], settings["lora_alpha"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path / CONFIG} is not a LoRA configuration: {error!r}") from error
    if kind != "LORA" or settings.get("use_dora"):
        raise UserError(f"{path}: expected a plain LoRA adapter, got {'DoRA' if kind == 'LORA' else kind}")
    _check_start(path, settings.get("init_lora_weights"))
    strange = [f"{key}={value!r}" for key, value in settings.items() if key not in KNOWN and value]
    if strange:
        raise UserError(
            f"{path / CONFIG} has settings that cannot be merged: {', '.join(strange)}; "
            "merge the adapter with PEFT (merge_and_unload) and name the directory that save_pretrained writes"
        )
    return dict(settings)


def _check_start(path: Path, start: object) -> None:
    if start not in PLAIN_STARTS:
        raise UserError(
            f"{path / CONFIG} has init_lora_weights={start!r}, which changes the base that the adapter stands on; "
            "save it with path_initial_model_for_weight_conversion, or merge it with PEFT (merge_and_unload) and name "
            "the directory that save_pretrained writes"
        )
