"""Adapters on parameters (`target_parameters`): what PEFT itself merges, whatever the file of the base looks like."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from src.checkpoints import Checkpoint
from src.checkpoints.model_class import ClassParameter
from src.merging.tensors.lora import LoraParent
from src.merging.tensors.lora_experts import parameter_layout
from src.utils.errors import UserError
from tests.merging.tensors.test_lora import save_adapter
from tests.merging.tools import largest_difference

TARGETS = {"target_modules": ["q_proj"], "target_parameters": ["experts.down_proj", "experts.gate_up_proj"]}
# class -> config, further targets, adapted tensors in the file: q_proj 2, and per layer of 3 experts
MODELS: dict[str, tuple[dict[str, Any], list[str], int]] = {
    "Qwen3Moe": ({"moe_intermediate_size": 12, "num_experts": 3, "num_experts_per_tok": 2}, ["mlp.gate.weight"], 22),
    "Mixtral": ({"num_local_experts": 3}, [], 20),  # apart in the file, and under other names
    "GptOss": ({"num_local_experts": 3, "num_experts_per_tok": 2}, [], 6),  # stacked in the file, (E, in, out)
}


def save_moe(kind: str, directory: Path, **more: Any) -> Any:
    import transformers

    torch.manual_seed(0)
    sizes = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "head_dim": 8}
    sizes |= {"num_attention_heads": 2, "num_key_value_heads": 1} | MODELS[kind][0] | more
    model = getattr(transformers, f"{kind}ForCausalLM")(getattr(transformers, f"{kind}Config")(**sizes))
    model.save_pretrained(directory)
    return model


@pytest.mark.parametrize("kind", MODELS)
def test_is_what_peft_merges(tmp_path: Path, kind: str) -> None:
    _, more, count = MODELS[kind]
    settings = {**TARGETS, "target_parameters": TARGETS["target_parameters"] + more}
    settings |= {"rank_pattern": {"experts.gate_up_proj": 3}, "alpha_pattern": {"layers.1.mlp.experts.down_proj": 5}}
    merged = save_adapter(tmp_path / "adapter", save_moe(kind, tmp_path / "base"), 1, **settings)
    merged.save_pretrained(tmp_path / "merged")
    base = Checkpoint(tmp_path / "base")
    parent = LoraParent(tmp_path / "adapter", base)
    assert len(parent.computed) == count
    found = {name: parent.tensor(name) for name in parent.names}
    assert largest_difference(found, load_file(tmp_path / "merged" / "model.safetensors")) < 1e-6
    assert all(float((found[name] - base.tensor(name)).abs().max()) > 1e-3 for name in parent.computed)


def test_only_the_projection_down(tmp_path: Path) -> None:
    """One wrapper: its name in the file says nothing about the parameter."""
    settings = {"target_modules": [], "target_parameters": ["experts.down_proj"], "use_rslora": True}
    merged = save_adapter(tmp_path / "adapter", save_moe("Qwen3Moe", tmp_path / "base"), 1, **settings)
    merged.save_pretrained(tmp_path / "merged")
    parent = LoraParent(tmp_path / "adapter", Checkpoint(tmp_path / "base"))
    assert len(parent.computed) == 6
    assert all("down_proj" in name for name in parent.computed)
    found = {name: parent.tensor(name) for name in parent.names}
    assert largest_difference(found, load_file(tmp_path / "merged" / "model.safetensors")) < 1e-6


def test_layouts_by_shape_and_version() -> None:
    """PEFT stored (E, out, in) transposed before 0.19.1; square experts do not show which."""
    wide, square = ClassParameter("up", (3, 8, 4), False), ClassParameter("up", (3, 4, 4), False)
    where = Path("adapter")
    assert not parameter_layout(where, "up", wide, (6, 4), (8, 6), "0.21.2").flipped
    assert parameter_layout(where, "up", wide, (6, 8), (4, 6), "0.18.0").flipped
    assert not parameter_layout(where, "up", square, (6, 4), (4, 6), "0.19.1").flipped
    assert parameter_layout(where, "up", ClassParameter("up", (3, 4, 4), True), (6, 4), (4, 6), "0.17.0").flipped
    with pytest.raises(UserError, match=r"experts of up are square, and PEFT 0\.18\.0 .*merge_and_unload"):
        parameter_layout(where, "up", square, (6, 4), (4, 6), "0.18.0")
    with pytest.raises(UserError, match=r"factors of up have shapes \[6, 5\] and \[8, 6\], .* fit \[3, 8, 4\]"):
        parameter_layout(where, "up", wide, (6, 5), (8, 6), None)


def test_what_cannot_be_told(tmp_path: Path) -> None:
    save_adapter(tmp_path / "adapter", save_moe("Qwen3Moe", tmp_path / "base"), 1, **TARGETS)
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    tensors = load_file(file)
    save_file({name: values for name, values in tensors.items() if "base_layer" not in name}, file)
    with pytest.raises(UserError, match=r"adapts 1 parameters of model.layers.0.mlp.experts, .* name 2 there: gate_up"):
        LoraParent(tmp_path / "adapter", Checkpoint(tmp_path / "base"))
    save_file(tensors, file)
    config = tmp_path / "base" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_type": "unheard_of"}))
    with pytest.raises(UserError, match=r"only the model class knows .* none for model_type='unheard_of'"):
        LoraParent(tmp_path / "adapter", Checkpoint(tmp_path / "base"))
