"""Layouts of parents as people have them: the table in docs/merging.md, row by row, with models of transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from src.checkpoints import Checkpoint
from src.checkpoints.fingerprint import weight_files
from src.merging.engine.grid import MergeRequest, merge_grid
from src.merging.engine.outputs import ToFunction
from src.merging.tensors.parent import open_parents
from src.utils.errors import UserError
from tests.merging.tools import Tensors, recipe

SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "vocab_size": 48}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1}
WEIGHTS = "model.safetensors"
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
HERE = ("base", "codegen", "codesum")


def family(root: Path, model_type: str = "qwen2", dtype: torch.dtype = torch.bfloat16, **settings: Any) -> Path:
    """A base and two specialists, saved by transformers; a specialist is its base and 0.01 times noise."""
    import transformers

    config = transformers.CONFIG_MAPPING[model_type](**{**SIZES, **HEADS, **settings})
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).to(dtype)
    for name in HERE:
        model.save_pretrained(root / name)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.01 * torch.randn(parameter.shape, dtype=torch.float32).to(dtype)
    return root


def merge(root: Path, allow_pickle: bool = False, name: str = "linear", **keys: Any) -> Tensors:
    """The merge of the three directories, in memory."""
    merged: Tensors = {}
    parents = open_parents(root / "base", {label: root / label for label in HERE[1:]}, allow_pickle)
    keys = keys or {"weight": 0.5}
    [result] = merge_grid(*parents, [MergeRequest(recipe(name, **keys), ToFunction(merged.__setitem__))])
    if result.error is not None:
        raise result.error
    return merged


def mean(root: Path, names: tuple[str, ...] = HERE[1:]) -> Tensors:
    """By hand: the mean of the specialists' files in float32, rounded once to bfloat16."""
    parents = [load_file(root / name / WEIGHTS) for name in names]
    return {
        key: (sum(0.5 * parent[key].float() for parent in parents)).to(torch.bfloat16)  # type: ignore[union-attr]
        for key in parents[0]
    }


def same(left: Tensors, right: Tensors) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def rewrite(directory: Path, **changes: torch.Tensor | None) -> None:
    """Add tensors to the single file of a checkpoint, or (None) remove them; `__` stands for a dot."""
    tensors: dict[str, torch.Tensor | None] = {**load_file(directory / WEIGHTS)}
    tensors |= {name.replace("__", "."): tensor for name, tensor in changes.items()}
    kept = {name: tensor.contiguous() for name, tensor in tensors.items() if tensor is not None}
    save_file(kept, directory / WEIGHTS, {"format": "pt"})


def configure(directory: Path, **changes: Any) -> None:
    """Set keys of a config.json, or (None) remove them."""
    path = directory / "config.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def add_head(directory: Path, factor: float = 1.0) -> None:
    embedding = load_file(directory / WEIGHTS)[EMBEDDING]
    rewrite(directory, lm_head__weight=embedding.clone() * factor)


@pytest.mark.parametrize("holders", [("base",), ("codegen",), ("codegen", "codesum"), HERE])
def test_a_tied_head_in_some_files_is_left_out(tmp_path: Path, holders: tuple[str, ...]) -> None:
    """DeepSpeed writes it into the fine-tune; the Hub's Qwen3 base has it and its fine-tunes have not."""
    root = family(tmp_path, tie_word_embeddings=True)
    expected = mean(root)
    for name in holders:
        add_head(root / name)
    merged = merge(root)
    assert HEAD not in merged
    assert same(merged, expected)


@pytest.mark.parametrize("holder", HERE)
def test_a_tied_head_that_differs_is_refused(tmp_path: Path, holder: str) -> None:
    root = family(tmp_path, tie_word_embeddings=True)
    add_head(root / holder, factor=2.0)
    with pytest.raises(UserError, match=rf"{holder} has tie_word_embeddings=True, but lm_head.weight differs .* 768"):
        merge(root)


def test_random_masks_keep_head_and_embedding_equal(tmp_path: Path) -> None:
    """All files hold the head: merged by itself it would get masks of its own, and the output would not be tied."""
    root = family(tmp_path, tie_word_embeddings=True)
    expected = merge(root, name="dare", weight=0.5)
    for name in HERE:
        add_head(root / name)
    assert same(merge(root, name="dare", weight=0.5), expected)


def test_tied_beside_untied_is_refused(tmp_path: Path) -> None:
    root = family(tmp_path, tie_word_embeddings=True)
    family(tmp_path / "other", tie_word_embeddings=False)
    (root / "codesum").rename(tmp_path / "gone")
    (tmp_path / "other" / "codesum").rename(root / "codesum")
    with pytest.raises(UserError, match=r"codesum.*lm_head.weight is not in the base"):
        merge(root)


@pytest.mark.parametrize(
    ("model_type", "tied"), [("qwen2", False), ("llama", False), ("gemma2", True), ("gpt_neox", False)]
)
def test_a_config_without_tie_word_embeddings_has_the_default_of_its_class(
    tmp_path: Path, model_type: str, tied: bool
) -> None:
    settings = {"head_dim": 8} if model_type == "gemma2" else {}
    root = family(tmp_path, model_type, tie_word_embeddings=tied, **settings)
    for name in HERE:
        configure(root / name, tie_word_embeddings=tied if name == "base" else None)
    assert same(merge(root), mean(root))
    assert all(Checkpoint(root / name).tied is tied for name in HERE)


def test_another_value_than_the_default_of_the_class_is_refused(tmp_path: Path) -> None:
    root = family(tmp_path, tie_word_embeddings=True)
    configure(root / "codesum", tie_word_embeddings=None)  # Qwen2 is untied by default
    with pytest.raises(UserError, match=r"codesum.*tie_word_embeddings=False"):
        merge(root)


def test_tie_word_embeddings_of_a_nested_config(tmp_path: Path) -> None:
    for name, config in {
        "inside": {"model_type": "qwen2_5_vl", "text_config": {"tie_word_embeddings": True}},
        "outside": {"model_type": "qwen2_5_vl", "tie_word_embeddings": True},
        "gemma3": {"model_type": "gemma3", "text_config": {}},
        "unknown": {"model_type": "of_remote_code", "text_config": {"tie_word_embeddings": True}},
    }.items():
        save_file({"a": torch.ones(1)}, (tmp_path / name).with_suffix(".safetensors"))
        (tmp_path / name).mkdir()
        (tmp_path / name).with_suffix(".safetensors").rename(tmp_path / name / WEIGHTS)
        (tmp_path / name / "config.json").write_text(json.dumps(config))
        assert Checkpoint(tmp_path / name).tied, name


@pytest.mark.parametrize(
    "buffer",
    [
        {"model__layers__0__self_attn__rotary_emb__inv_freq": torch.ones(4)},
        {"gpt_neox__layers__0__attention__masked_bias": torch.tensor(-1e9)},
        {"transformer__h__0__attn__bias": torch.ones(1, 1, 8, 8, dtype=torch.bool)},
        {"bert__embeddings__position_ids": torch.arange(8)[None]},
    ],
)
@pytest.mark.parametrize("holder", HERE)
def test_buffers_that_some_files_lack_are_left_out(
    tmp_path: Path, buffer: dict[str, torch.Tensor], holder: str
) -> None:
    root = family(tmp_path)
    expected = mean(root)
    rewrite(root / holder, **buffer)
    assert same(merge(root), expected)


def test_a_bias_that_one_file_lacks_is_no_buffer(tmp_path: Path) -> None:
    root = family(tmp_path)
    rewrite(root / "codesum", transformer__h__0__attn__bias=torch.ones(16))
    with pytest.raises(UserError, match=r"attn.bias is not in the base"):
        merge(root)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
@pytest.mark.parametrize("holder", HERE)
def test_one_parent_in_another_dtype(tmp_path: Path, dtype: torch.dtype, holder: str) -> None:
    root = family(tmp_path)
    tensors = load_file(root / holder / WEIGHTS)
    fine = {name: tensor.to(dtype) * 1.0009765625 for name, tensor in tensors.items()}  # not representable in bfloat16
    save_file(fine, root / holder / WEIGHTS, {"format": "pt"})
    merged = merge(root)
    expected = mean(root)
    kept = dtype if holder == "base" else torch.bfloat16
    assert all(tensor.dtype is kept for tensor in merged.values())
    assert all(torch.equal(merged[name].to(torch.bfloat16), expected[name]) for name in expected)


@pytest.mark.parametrize("name", ["ties", "della", "slerp", "sce"])
def test_other_methods_take_another_dtype_too(tmp_path: Path, name: str) -> None:
    """Values that bfloat16 holds: stored as float32 or float16 they are the same merge."""
    root = family(tmp_path)
    keys = {"exclude": None} if name == "sce" else {"weight": 0.5}
    expected = merge(root, name=name, **keys)
    for label, dtype in (("codegen", torch.float32), ("codesum", torch.float64)):
        tensors = load_file(root / label / WEIGHTS)
        save_file({key: tensor.to(dtype) for key, tensor in tensors.items()}, root / label / WEIGHTS)
    assert same(merge(root, name=name, **keys), expected)


def split(directory: Path, parts: int = 3) -> list[Path]:
    """Replace the single file by shards without an index."""
    tensors = load_file(directory / WEIGHTS)
    (directory / WEIGHTS).unlink()
    names = sorted(tensors)
    paths = [directory / f"model-{i + 1:05d}-of-{parts:05d}.safetensors" for i in range(parts)]
    for i, path in enumerate(paths):
        save_file({name: tensors[name] for name in names[i::parts]}, path, {"format": "pt"})
    return paths


@pytest.mark.parametrize("holder", HERE)
def test_shards_without_an_index(tmp_path: Path, holder: str) -> None:
    root = family(tmp_path)
    expected = mean(root)
    shards = split(root / holder)
    assert same(merge(root), expected)
    assert weight_files(root / holder) == shards


def test_shards_of_which_one_is_absent_are_refused(tmp_path: Path) -> None:
    root = family(tmp_path)
    split(root / "codesum")[1].unlink()
    with pytest.raises(UserError, match=r"codesum has no model.safetensors.index.json and lacks .*00002-of-00003"):
        merge(root)


def test_shards_of_two_exports_without_an_index_are_refused(tmp_path: Path) -> None:
    root = family(tmp_path)
    shards = split(root / "codesum")
    shards[0].with_name("model-00001-of-00001.safetensors").write_bytes(shards[0].read_bytes())
    with pytest.raises(UserError, match=r"shards of several checkpoints: of \[1, 3\]"):
        merge(root)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_weights_by_permission(tmp_path: Path, zipped: bool) -> None:
    root = family(tmp_path)
    expected = mean(root)
    for name in ("base", "codesum"):
        tensors = load_file(root / name / WEIGHTS)
        (root / name / WEIGHTS).unlink()
        torch.save(tensors, root / name / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match="allow_pickle=true"):
        merge(root)
    assert same(merge(root, allow_pickle=True), expected)


def test_the_base_model_beside_the_model_with_its_head(tmp_path: Path) -> None:
    """`AutoModel.save_pretrained` leaves the prefix `model.` out."""
    root = family(tmp_path, tie_word_embeddings=True)
    expected = mean(root)
    tensors = load_file(root / "codesum" / WEIGHTS)
    save_file({name.removeprefix("model."): tensor for name, tensor in tensors.items()}, root / "codesum" / WEIGHTS)
    assert same(merge(root), expected)


def test_gpt2_with_and_without_its_prefix(tmp_path: Path) -> None:
    root = family(tmp_path, "gpt2", n_positions=16, n_embd=16, n_layer=2, n_head=2)
    expected = mean(root)
    tensors = load_file(root / "base" / WEIGHTS)
    bare = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    save_file(bare, root / "base" / WEIGHTS)
    assert same(merge(root), {name.removeprefix("transformer."): tensor for name, tensor in expected.items()})


def vision_family(root: Path) -> Path:
    import transformers

    config = transformers.Qwen2_5_VLConfig(
        text_config={**SIZES, **HEADS, "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]}},
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": 16,
            "fullatt_block_indexes": [0],
        },
    )
    torch.manual_seed(0)
    model = transformers.Qwen2_5_VLForConditionalGeneration(config).to(torch.bfloat16)
    for name in HERE:
        model.save_pretrained(root / name)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.01 * torch.randn(parameter.shape).to(torch.bfloat16)
    return root


def test_the_hub_names_of_qwen_vl_beside_those_of_its_class(tmp_path: Path) -> None:
    root = vision_family(tmp_path)
    expected = mean(root)
    tensors = load_file(root / "codesum" / WEIGHTS)
    old, new = ("model.", "model.language_model.")
    hub = any(name.startswith("visual.") for name in tensors)  # as transformers saves it
    renamed = {}
    for name, tensor in tensors.items():
        if hub:
            other = f"model.{name}" if name.startswith("visual.") else name.replace(old, new, 1)
        else:
            other = name.removeprefix("model.") if name.startswith("model.visual.") else name.replace(new, old, 1)
        renamed[other] = tensor
    assert renamed.keys() != tensors.keys()
    save_file(renamed, root / "codesum" / WEIGHTS, {"format": "pt"})
    assert same(merge(root), expected)
