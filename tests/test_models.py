from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from src.models import ModelSpec, Recipe, fastest_attention, load_model, load_tokenizer, torch_dtype
from src.utils.errors import UserError
from tests.lit_modules import tiny

RECIPE = Recipe(learning_rate=1e-5, max_length=64, micro_batch=1, accumulation=1, epochs=1)
SPEC = ModelSpec("m", "study", "org/name", RECIPE, context_length=64)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    tiny.network().save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"world": "pockets"}, "unknown model.world 'pockets', did you mean 'pocket'"),
        ({"dtype": "bf16"}, "unknown model.dtype 'bf16'.*bfloat16"),
        ({"init": "zeros"}, "unknown model.init"),
        ({"context_length": 63}, "max_length=64 is longer than the context of m, model.context_length=63"),
    ],
)
def test_bad_specs(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(SPEC, **changes)


def test_pretrained_weights(checkpoint: Path) -> None:
    model = load_model(checkpoint, dtype=torch.bfloat16)
    assert torch.equal(model.state_dict()["model.norm.weight"], tiny.network().model.norm.weight.bfloat16())
    assert model.config._attn_implementation == "sdpa"


def test_auto_attention_takes_the_fastest_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("src.models.is_flash_attn_3_available", lambda: False)
    monkeypatch.setattr("src.models.is_flash_attn_2_available", lambda: True)
    assert fastest_attention() == "flash_attention_2"
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert fastest_attention() == "sdpa"


def test_random_weights_are_seeded_and_leave_the_global_stream_alone(checkpoint: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, same, other = (load_model(checkpoint, init="random", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    weights = [model.state_dict()["model.layers.0.mlp.up_proj.weight"] for model in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_shrunken_model_keeps_the_family(checkpoint: Path) -> None:
    model = load_model(checkpoint, shrink=True)
    assert (model.config.num_hidden_layers, model.config.hidden_size, model.config.vocab_size) == (2, 64, 260)
    assert model.config.tie_word_embeddings
    assert model(torch.arange(5)[None]).logits.shape == (1, 5, 260)


def test_tokenizer_with_another_end_and_template(checkpoint: Path) -> None:
    tokenizer = load_tokenizer(checkpoint, chat_template="{{ 1 }}", eos_token="<|endoftext|>")
    assert (tokenizer.eos_token_id, tokenizer.chat_template) == (256, "{{ 1 }}")
    assert load_tokenizer(checkpoint).eos_token_id == 258
    with pytest.raises(UserError, match=r"model.eos_token='</s>' is not in the vocabulary"):
        load_tokenizer(checkpoint, eos_token="</s>")


@pytest.mark.parametrize("load", [load_tokenizer, load_model])
def test_missing_paths(tmp_path: Path, load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"no checkpoint directory .*/nowhere; set model.path=DIR"):
        load(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"cannot load a (tokenizer|model) from .*model.path=DIR"):
        load(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"cannot load a (tokenizer|model) from org/unknown: .*model.init=random"):
        load("org/unknown")


def test_unknown_names() -> None:
    with pytest.raises(UserError, match=r"unknown model.init 'zeros'"):
        load_model("org/name", init="zeros")
    with pytest.raises(UserError, match=r"unknown dtype 'half'.*float16"):
        torch_dtype("half")


def test_loading_is_silent(checkpoint: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_model(checkpoint)
    assert capfd.readouterr() == ("", "")
