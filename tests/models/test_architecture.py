"""Built-in architectures against published parameter counts, and their shrunken stand-ins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from src.models import draw_model, model_config
from src.utils.errors import UserError
from tests.data.shared import needs_shared, shared
from tests.lit_modules import tiny
from tests.test_conf_training import node

PUBLISHED = {  # of the model cards' safetensors
    "qwen1.5b": 1_543_714_304,
    "qwen7b": 7_615_616_512,
    "qwen14b": 14_770_033_664,
    "deepseek1.3b": 1_346_471_936,
    "deepseek7b": 6_910_365_696,
}


def architecture(name: str) -> dict[str, Any]:
    from omegaconf import OmegaConf

    return OmegaConf.to_container(node("model", name).architecture)  # type: ignore[return-value]


@pytest.mark.parametrize(("name", "count"), PUBLISHED.items())
def test_full_sizes(name: str, count: int) -> None:
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(model_config(None, architecture(name)))
    assert sum(parameter.numel() for parameter in network.parameters()) == count


@needs_shared
@pytest.mark.parametrize(
    ("name", "folder", "other"),
    [
        ("qwen7b", "qwen2.5-7b-instruct", set()),
        # the 6.7B model is the 1.3B one with more layers and wider ones
        (
            "deepseek1.3b",
            "deepseek-coder-6.7b-instruct",
            {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"},
        ),
    ],
)
def test_fields_equal_the_published_config(name: str, folder: str, other: set[str]) -> None:
    published = AutoConfig.from_pretrained(shared("data", "tokenizers", folder)).to_dict()
    ours = model_config(None, architecture(name)).to_dict()
    same = {*architecture(name)} - {"model_type"} - other
    published["rope_parameters"].pop("type", None)  # the old name of rope_type
    assert {key: ours[key] for key in same} == {key: published[key] for key in same}


def test_shrunken_model_keeps_the_family() -> None:
    model = draw_model(model_config(None, architecture("qwen1.5b"), shrink=True, tokenizer=tiny.tokenizer()), seed=0)
    assert (model.config.num_hidden_layers, model.config.hidden_size, model.config.vocab_size) == (2, 64, 259)
    assert model.config.tie_word_embeddings
    assert model.config.num_key_value_heads < model.config.num_attention_heads
    assert (model.config.eos_token_id, model.config.pad_token_id) == (258, 256)
    assert model(torch.arange(5)[None]).logits.shape == (1, 5, 259)


def test_random_weights_are_seeded_and_leave_the_global_stream_alone() -> None:
    config = tiny.network().config
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, same, other = (draw_model(config, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    weights = [model.state_dict()["model.layers.0.mlp.up_proj.weight"] for model in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_neither_files_nor_numbers(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config.json in .* and no model.architecture"):
        model_config(tmp_path, None)
