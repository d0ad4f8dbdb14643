"""Every setting of PEFT's LoRA is implemented, does not matter to a merge, or is refused by name."""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from src.checkpoints import Checkpoint
from src.merging.tensors.lora import LoraParent
from src.merging.tensors.lora_settings import KNOWN, PLAIN_STARTS, read_settings
from src.utils.errors import UserError
from tests.merging.tensors.test_lora import save_model
from tests.merging.tools import largest_difference

REFUSED = {
    "use_dora", "trainable_token_indices", "velora_config", "alora_invocation_tokens", "use_qalora",
    "monteclora_config", "layer_replication", "lora_bias", "use_bdlora", "arrow_config",
    "kasa_config", "ensure_weight_tying",
}  # fmt: skip


def written(directory: Path, **changes: Any) -> Path:
    (directory / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "lora_alpha": 8} | changes))
    return directory


def test_every_field_of_peft_is_known_or_refused() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from peft import LoraConfig
    fields = {field.name for field in dataclasses.fields(LoraConfig)}
    assert fields - KNOWN <= REFUSED
    assert not KNOWN & REFUSED


@pytest.mark.parametrize("key", sorted(REFUSED - {"use_dora"}))
def test_settings_that_are_not_implemented(tmp_path: Path, key: str) -> None:
    with pytest.raises(UserError, match=rf"cannot be merged: {key}=\[1\]; .*merge_and_unload"):
        read_settings(written(tmp_path, **{key: [1]}))
    assert read_settings(written(tmp_path, **{key: None}))["lora_alpha"] == 8


def test_settings_of_a_later_version_of_peft(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be merged: use_what_comes=True"):
        read_settings(written(tmp_path, use_what_comes=True))


@pytest.mark.parametrize("start", ["pissa", "pissa_niter_4", "olora", "corda", "loftq", "lora_ga", "unheard of"])
def test_initializations_that_change_the_base(tmp_path: Path, start: str) -> None:
    with pytest.raises(UserError, match=f"init_lora_weights='{start}', which changes the base"):
        read_settings(written(tmp_path, init_lora_weights=start))


@pytest.mark.parametrize("start", PLAIN_STARTS)
def test_initializations_that_do_not(tmp_path: Path, start: object) -> None:
    assert read_settings(written(tmp_path, init_lora_weights=start))["init_lora_weights"] == start


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_peft_itself_changes_the_base(tmp_path: Path, start: str) -> None:
    """The reason: loaded by PEFT, W - s B0 A0 + s B A; taken as plain LoRA, the first update would be missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from peft import LoraConfig, PeftModel, get_peft_model

        adapted = get_peft_model(
            save_model(tmp_path / "base"),
            LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj"], init_lora_weights=start),
        )
        adapted.save_pretrained(tmp_path / "adapter")
        merged = PeftModel.from_pretrained(save_model(tmp_path / "base"), tmp_path / "adapter").merge_and_unload()
    settings = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    with pytest.raises(UserError, match="changes the base"):
        LoraParent(tmp_path / "adapter", Checkpoint(tmp_path / "base"))
    written(tmp_path / "adapter", **(settings | {"init_lora_weights": True}))
    plain = LoraParent(tmp_path / "adapter", Checkpoint(tmp_path / "base"))
    state: dict[str, torch.Tensor] = merged.state_dict()
    assert largest_difference({n: plain.tensor(n) for n in plain.names}, {n: state[n] for n in plain.names}) > 1e-3
