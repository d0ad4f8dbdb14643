"""LoRA parents: what PEFT itself would merge, without PEFT."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from src.checkpoints import Checkpoint
from src.checkpoints.fingerprint import fingerprint
from src.merging.tensors.lora import LoraParent
from src.merging.tensors.lora_adapter import is_adapter
from src.merging.tensors.parent import open_parents
from src.utils.errors import UserError
from tests.merging.tools import identical, largest_difference, merge_all, recipe

KINDS: dict[str, dict[str, Any]] = {
    "plain": {"target_modules": ["q_proj", "down_proj"]},
    "rank-stabilised": {"target_modules": ["v_proj"], "use_rslora": True, "r": 9},
    "patterns": {
        "target_modules": ["q_proj", "k_proj"],
        "rank_pattern": {"k_proj": 2},
        "alpha_pattern": {"layers.0.self_attn.q_proj": 64},
    },
    "embedding, bias and a whole head": {
        "target_modules": ["q_proj", "embed_tokens"],
        "modules_to_save": ["lm_head"],
        "bias": "lora_only",
    },
}


def save_model(directory: Path, tied: bool = False) -> Any:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, tie_word_embeddings=tied,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config)
    model.save_pretrained(directory)
    return model


def save_adapter(directory: Path, model: Any, seed: int, **settings: Any) -> Any:
    """A random adapter in PEFT's own words; returns the model that PEFT merges it into."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PEFT about transformers
        from peft import LoraConfig, get_peft_model

        adapted = get_peft_model(model, LoraConfig(**{"r": 4, "lora_alpha": 8} | settings))
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in adapted.named_parameters():
        if parameter.requires_grad or "lora_" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.05
    adapted.save_pretrained(directory, save_embedding_layers="embed_tokens" in settings["target_modules"])
    return adapted.merge_and_unload()


@pytest.mark.parametrize("kind", KINDS)
def test_is_what_peft_merges(tmp_path: Path, kind: str) -> None:
    model = save_model(tmp_path / "base")
    merged = save_adapter(tmp_path / "adapter", model, 1, **KINDS[kind]).state_dict()
    parent = LoraParent(tmp_path / "adapter", Checkpoint(tmp_path / "base"))
    found = {name: parent.tensor(name) for name in parent.names}
    assert largest_difference(found, {name: merged[name] for name in found}) < 1e-6
    base = Checkpoint(tmp_path / "base")
    changed = {name for name in found if not torch.equal(found[name], base.tensor(name))}
    assert changed == parent.computed
    assert all(torch.equal(parent.flat(name, 3, 7), found[name].reshape(-1)[3:7]) for name in found)


def test_merges_of_adapters_are_merges_of_what_they_make(tmp_path: Path) -> None:
    save_model(tmp_path / "base")
    for seed, label in ((1, "codegen"), (2, "codesum")):
        full = save_adapter(tmp_path / label, save_model(tmp_path / "base"), seed, **KINDS["plain"])
        full.save_pretrained(tmp_path / f"{label}-full")
    points = [recipe("ties", weight=0.3), recipe("linear", weight=0.3), recipe("della")]
    labels = ("codegen", "codesum")
    adapters = open_parents(tmp_path / "base", {label: tmp_path / label for label in labels})
    wholes = open_parents(tmp_path / "base", {label: tmp_path / f"{label}-full" for label in labels})
    mixed = open_parents(tmp_path / "base", {"codegen": tmp_path / "codegen", "codesum": tmp_path / "codesum-full"})
    expected, _ = merge_all(*wholes, points)
    for parents in (adapters, mixed):
        for left, right in zip(merge_all(*parents, points)[0], expected, strict=True):
            assert largest_difference(left, right) < 2e-6


def test_an_adapter_alone_at_full_weight_in_the_base_dtype(tmp_path: Path) -> None:
    """The update is not rounded to the base's bfloat16 before it is merged."""
    model = save_model(tmp_path / "base")
    model.bfloat16().save_pretrained(tmp_path / "base")
    save_adapter(tmp_path / "adapter", model.float(), 1, **KINDS["plain"])
    base, parents = open_parents(tmp_path / "base", {"codegen": tmp_path / "adapter"})
    [merged], _ = merge_all(base, parents, [recipe("task_arithmetic", weight=1.0)])
    adapter = parents["codegen"]
    expected = {name: adapter.tensor(name).bfloat16() for name in base.names}
    assert identical(merged, expected)


def test_what_is_an_adapter(tmp_path: Path) -> None:
    model = save_model(tmp_path / "base")
    save_adapter(tmp_path / "adapter", model, 1, **KINDS["plain"])
    assert is_adapter(tmp_path / "adapter")
    assert not is_adapter(tmp_path / "base")


def broken(directory: Path, settings: dict[str, Any] | None = None, drop: str = "") -> LoraParent:
    """An adapter with some settings changed and the factors named `drop` removed."""
    model = save_model(directory / "base")
    save_adapter(directory / "adapter", model, 1, **KINDS["plain"])
    path = directory / "adapter" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | (settings or {})))
    if drop:
        file = directory / "adapter" / "adapter_model.safetensors"
        save_file({name: tensor for name, tensor in load_file(file).items() if drop not in name}, file)
    return LoraParent(directory / "adapter", Checkpoint(directory / "base"))


@pytest.mark.parametrize(
    ("settings", "drop", "message"),
    [
        ({"use_dora": True}, "", "expected a plain LoRA adapter, got DoRA"),
        ({"peft_type": "IA3"}, "", "expected a plain LoRA adapter, got IA3"),
        ({}, "layers.1.mlp.down_proj.lora_B", "only one of .* factors of: model.layers.1.mlp.down_proj.weight"),
    ],
)
def test_adapters_that_do_not_merge(tmp_path: Path, settings: dict[str, Any], drop: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        broken(tmp_path, settings, drop)


@pytest.mark.parametrize("shape", [(4, 16, 3, 3), (5, 16)])
def test_factors_that_are_no_matrices_of_one_rank(tmp_path: Path, shape: tuple[int, ...]) -> None:
    model = save_model(tmp_path / "base")
    save_adapter(tmp_path / "adapter", model, 1, **KINDS["plain"])
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    save_file({**load_file(file), name: torch.zeros(shape)}, file)
    with pytest.raises(UserError, match=r"factors of model\.layers\.0\.self_attn\.q_proj have shapes .*convolutions"):
        LoraParent(tmp_path / "adapter", Checkpoint(tmp_path / "base"))


def test_settings_that_are_none(tmp_path: Path) -> None:
    save_model(tmp_path / "base")
    (tmp_path / "adapter").mkdir()
    for text in ("{", "[]", "{}"):
        (tmp_path / "adapter" / "adapter_config.json").write_text(text)
        with pytest.raises(UserError, match=r"adapter_config.json is not a LoRA configuration"):
            LoraParent(tmp_path / "adapter", Checkpoint(tmp_path / "base"))


def test_another_base(tmp_path: Path) -> None:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    model = save_model(tmp_path / "base")
    save_adapter(tmp_path / "adapter", model, 1, **KINDS["plain"])
    small = {"vocab_size": 40, "num_attention_heads": 2, "num_key_value_heads": 1, "num_hidden_layers": 2}
    Qwen2ForCausalLM(Qwen2Config(hidden_size=8, intermediate_size=24, **small)).save_pretrained(tmp_path / "narrow")
    with pytest.raises(UserError, match=r"has shape \[16, 24\], expected \[8, 24\]; is this its base"):
        LoraParent(tmp_path / "adapter", Checkpoint(tmp_path / "narrow"))
    small["num_hidden_layers"] = 1
    Qwen2ForCausalLM(Qwen2Config(hidden_size=16, intermediate_size=24, **small)).save_pretrained(tmp_path / "shallow")
    with pytest.raises(UserError, match=r"adapts tensors that .*shallow lacks: model\.layers\.1"):
        LoraParent(tmp_path / "adapter", Checkpoint(tmp_path / "shallow"))


def test_a_whole_head_on_a_tied_base(tmp_path: Path) -> None:
    model = save_model(tmp_path / "base")
    save_adapter(tmp_path / "adapter", model, 1, **KINDS["embedding, bias and a whole head"])
    save_model(tmp_path / "tied", tied=True)
    with pytest.raises(UserError, match=r"the base ties its head to the embedding: lm_head\.weight"):
        LoraParent(tmp_path / "adapter", Checkpoint(tmp_path / "tied"))


def vision_model(kind: str) -> Any:
    import transformers

    text = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "vocab_size": 48}
    text |= {
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    torch.manual_seed(0)
    if kind == "gemma3":
        vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        vision |= {"image_size": 28, "patch_size": 14}
        gemma = transformers.Gemma3Config(
            text_config={**text, "head_dim": 8}, vision_config=vision, mm_tokens_per_image=4
        )
        return transformers.Gemma3ForConditionalGeneration(gemma)
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16}
    rope = {"type": "mrope", "mrope_section": [1, 1, 2]}
    qwen = transformers.Qwen2_5_VLConfig(
        text_config={**text, "rope_scaling": rope}, vision_config={**vision, "fullatt_block_indexes": [0]}
    )
    return transformers.Qwen2_5_VLForConditionalGeneration(qwen)


@pytest.mark.parametrize(("kind", "targets"), [("gemma3", ["q_proj"]), ("qwen2_5_vl", ["q_proj", "qkv"])])
def test_modules_that_the_file_names_otherwise(tmp_path: Path, kind: str, targets: list[str]) -> None:
    """PEFT names modules as the class does; transformers saves these classes under the names of the Hub."""
    model = vision_model(kind)
    model.save_pretrained(tmp_path / "base")
    settings = {"target_modules": targets, "alpha_pattern": {"language_model.layers.1.self_attn.q_proj": 32}}
    merged = save_adapter(tmp_path / "adapter", model, 1, **settings)
    merged.save_pretrained(tmp_path / "merged")
    parent = LoraParent(tmp_path / "adapter", Checkpoint(tmp_path / "base"))
    expected = load_file(tmp_path / "merged" / "model.safetensors")
    assert len(parent.computed) == 3
    found = {name: parent.tensor(name) for name in parent.names}
    assert largest_difference(found, expected) < 1e-6
    moved = Checkpoint(tmp_path / "base")
    assert all(not torch.equal(found[name], moved.tensor(name)) for name in parent.computed)


def test_an_adapter_older_than_safetensors(tmp_path: Path) -> None:
    model = save_model(tmp_path / "base")
    save_adapter(tmp_path / "adapter", model, 1, **KINDS["plain"])
    expected = LoraParent(tmp_path / "adapter", Checkpoint(tmp_path / "base"))
    weights = {name: expected.tensor(name) for name in expected.names}
    torch.save(
        load_file(tmp_path / "adapter" / "adapter_model.safetensors"), tmp_path / "adapter" / "adapter_model.bin"
    )
    (tmp_path / "adapter" / "adapter_model.safetensors").unlink()
    with pytest.raises(UserError, match="allow_pickle=true"):
        open_parents(tmp_path / "base", {"codegen": tmp_path / "adapter"})
    _, parents = open_parents(tmp_path / "base", {"codegen": tmp_path / "adapter"}, allow_pickle=True)
    assert identical({name: parents["codegen"].tensor(name) for name in expected.names}, weights)
    assert "adapter_model.bin" in fingerprint(tmp_path / "adapter")


def test_an_adapter_on_a_tied_base_whose_file_holds_the_head(tmp_path: Path) -> None:
    model = save_model(tmp_path / "base", tied=True)
    save_adapter(tmp_path / "adapter", model, 1, **KINDS["plain"])
    parents = open_parents(tmp_path / "base", {"codegen": tmp_path / "adapter"})
    [expected], _ = merge_all(*parents, [recipe("linear", weights={"codegen": 1.0}, weight=None)])
    tensors = load_file(tmp_path / "base" / "model.safetensors")
    save_file(
        {**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"].clone()},
        tmp_path / "base" / "model.safetensors",
    )
    parents = open_parents(tmp_path / "base", {"codegen": tmp_path / "adapter"})
    [found], _ = merge_all(*parents, [recipe("linear", weights={"codegen": 1.0}, weight=None)])
    assert identical(found, expected)
