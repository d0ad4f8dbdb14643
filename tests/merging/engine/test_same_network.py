"""Configs that describe other networks, quantized parents, and directories that hold the same weights twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from src.checkpoints import Checkpoint, write_checkpoint
from src.checkpoints.configs import config_differences
from src.checkpoints.fingerprint import weight_files
from src.merging.engine.check_parents import check_parents
from src.utils.errors import UserError
from tests.merging.tools import random_family, write_family

QWEN: dict[str, Any] = {
    "model_type": "qwen2",
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "transformers_version": "4.40.0",
}


def refusal(directory: Path, change: dict[str, Any]) -> str:
    base, specialists = write_family(directory, *random_family())
    for parent in (base, *specialists.values()):
        (parent.path / "config.json").write_text(json.dumps(QWEN))
    (specialists["codesum"].path / "config.json").write_text(json.dumps(QWEN | change))
    with pytest.raises(UserError) as caught:
        check_parents(base, specialists)
    assert f"codesum/config.json (codesum) describes another network than the base's: {next(iter(change))}" in str(
        caught.value
    ) or "rope_parameters" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rope_theta": 1e6}, "rope_theta is 10000.0 in the base, 1000000.0 here"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, "'linear' here"),
        ({"num_attention_heads": 8}, "num_attention_heads is 4 in the base, 8 here"),
        ({"hidden_act": "gelu"}, "hidden_act is 'silu' in the base, 'gelu' here"),
        ({"rms_norm_eps": 1e-5}, "rms_norm_eps is 1e-06 in the base, 1e-05 here"),
        ({"model_type": "llama"}, "model_type is 'qwen2' in the base, 'llama' here"),
    ],
)
def test_what_changes_the_forward_pass_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    assert words in refusal(tmp_path, change)


@pytest.mark.parametrize(
    "change",
    [
        {"transformers_version": "5.0.0", "torch_dtype": "float16", "_name_or_path": "x", "use_cache": False},
        {"attention_dropout": 0.1, "initializer_range": 0.01, "eos_token_id": 7, "vocab_size": 99},
        {"unsloth_version": "2025.1"},
        {"sliding_window": None, "use_sliding_window": False},  # what the class says where the file says nothing
        {"max_position_embeddings": 1 << 17},
    ],
)
def test_what_does_not_is_not(change: dict[str, Any]) -> None:
    assert config_differences(QWEN, QWEN | change) == []


def test_the_words_of_another_version_of_transformers() -> None:
    newer = {key: value for key, value in QWEN.items() if key != "rope_theta"}
    newer["rope_parameters"] = {"rope_theta": 10000.0, "rope_type": "default"}
    assert config_differences(QWEN, newer) == []
    newer["rope_parameters"] = {"rope_theta": 5e5, "rope_type": "default"}
    assert config_differences(QWEN, newer) == ["rope_parameters.rope_theta is 10000.0 in the base, 500000.0 here"]


def test_a_class_that_nobody_knows() -> None:
    ours = {"model_type": "own-thing", "heads": 4, "extra": 1}
    assert config_differences(ours, {"model_type": "own-thing", "heads": 8}) == ["heads is 4 in the base, 8 here"]


@pytest.mark.parametrize(
    ("config", "tensor", "words"),
    [
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, None, "is quantized (bitsandbytes)"),
        ({"text_config": {"quantization_config": {"quant_method": "gptq"}}}, None, "is quantized (gptq)"),
        ({}, ("model.norm.weight_scale_inv", torch.ones(1)), "is quantized (model.norm.weight_scale_inv is float32)"),
        ({}, ("x.weight", torch.ones(4).to(torch.float8_e4m3fn)), "is quantized (x.weight is float8_e4m3fn)"),
    ],
)
@pytest.mark.parametrize("which", ["base", "codesum"])
def test_quantized_parents(
    tmp_path: Path, config: dict[str, Any], tensor: tuple[str, torch.Tensor] | None, words: str, which: str
) -> None:
    base, specialists = random_family()
    extra = dict([tensor]) if tensor else {}
    parents = write_family(tmp_path, base | extra, [one | extra for one in specialists])
    (tmp_path / which / "config.json").write_text(json.dumps(config))
    if tensor:  # all hold it, and the base is looked at first
        which = "base"
    with pytest.raises(UserError) as caught:
        check_parents(*parents)
    assert f"{tmp_path / which} ({which}) {words}" in str(caught.value)
    assert "dequantize" in str(caught.value)


def test_the_single_file_goes_before_an_index(tmp_path: Path) -> None:
    """A newer export saved over an older sharded one: transformers reads the single file."""
    tensors = {"a": torch.zeros(4), "b": torch.zeros(4)}
    write_checkpoint(tmp_path / "old", tensors, shard_bytes=16)
    assert Checkpoint(tmp_path / "old").tensor("a").tolist() == [0] * 4
    write_checkpoint(tmp_path / "new", {name: tensor + 1 for name, tensor in tensors.items()})
    (tmp_path / "new" / "model.safetensors").rename(tmp_path / "old" / "model.safetensors")
    assert Checkpoint(tmp_path / "old").tensor("a").tolist() == [1] * 4
    assert [path.name for path in weight_files(tmp_path / "old")] == ["model.safetensors"]


def test_an_index_beside_an_adapter_is_not_the_adapters(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, {"a": torch.zeros(4), "b": torch.zeros(4)}, shard_bytes=16)
    with pytest.raises(UserError, match=r"adapter_model\.safetensors"):
        Checkpoint(tmp_path, weights="adapter_model.safetensors")


def test_weights_under_another_name(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, {"a": torch.zeros(4)})
    (tmp_path / "config.json").write_text('{"transformers_weights": "other.safetensors"}')
    with pytest.raises(UserError, match=r"transformers_weights='other\.safetensors'"):
        Checkpoint(tmp_path)


def test_a_single_pickle_goes_before_shards(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "pytorch_model-00001-of-00001.bin")
    torch.save({"a": torch.ones(2)}, tmp_path / "pytorch_model.bin")
    assert Checkpoint(tmp_path, allow_pickle=True).tensor("a").tolist() == [1, 1]
