"""The pocket model: what plain transformers reads, and the same bytes for the same seed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from src.data.examples import Example
from src.data.turns import chat_texts
from src.pocket.model import PocketModel
from src.pocket.sources import PocketSource

Loaded = tuple[PreTrainedTokenizerFast, torch.nn.Module]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return PocketModel().write(tmp_path_factory.mktemp("pocket") / "init")


@pytest.fixture(scope="module")
def loaded(directory: Path) -> Loaded:
    return AutoTokenizer.from_pretrained(directory), AutoModelForCausalLM.from_pretrained(directory)


def digests(directory: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(directory.iterdir())}


def test_size_and_kind(loaded: Loaded) -> None:
    tokenizer, model = loaded
    assert type(model).__name__ == "Qwen2ForCausalLM"
    assert 850_000 <= sum(parameter.numel() for parameter in model.parameters()) <= 1_000_000
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert model.dtype == torch.float32
    assert len(tokenizer) <= model.config.vocab_size == 1024
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.pad_token == "<|endoftext|>"
    assert model.generation_config.eos_token_id == [tokenizer.eos_token_id, tokenizer.pad_token_id]
    assert not model.generation_config.do_sample


def test_equal_seeds_give_equal_bytes_and_others_other_weights(directory: Path, tmp_path: Path) -> None:
    rows = PocketSource("base").examples("train")
    again = digests(PocketModel().write(tmp_path / "again", rows))
    assert again == digests(directory)
    other = digests(PocketModel().write(tmp_path / "other", rows, seed=1))
    assert other["tokenizer.json"] == again["tokenizer.json"]
    assert other["model.safetensors"] != again["model.safetensors"]


def test_building_leaves_the_random_stream_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    PocketModel(layers=1).write(tmp_path, [Example("a", "base", None, "return 1\n" * 40)])
    assert torch.equal(torch.rand(3), expected)


def test_every_text_comes_back(loaded: Loaded) -> None:
    tokenizer, _ = loaded
    texts = [row.answer for row in PocketSource("base").examples("test")]
    texts += ["    return {k: v for k, v in t.items()}\n", "naïve — 数 \t'x'  !=  ,.", " leading", "trailing \n\n"]
    for text in texts:
        ids = tokenizer(text).input_ids
        assert max(ids) < 1024
        assert tokenizer.decode(ids) == text


def test_auto_tokenizer_splits_as_the_trained_one_does(directory: Path, loaded: Loaded) -> None:
    trained = PreTrainedTokenizerFast(tokenizer_file=str(directory / "tokenizer.json"))
    for row in PocketSource("base").examples("test"):
        assert trained(row.answer).input_ids == loaded[0](row.answer).input_ids


def test_chat_template_by_hand(loaded: Loaded) -> None:
    tokenizer, _ = loaded
    before, answer = chat_texts(Example("a", "codesum", "def f(x):\n    return x", "Return x."), tokenizer)
    assert before == "<|im_start|>user\ndef f(x):\n    return x<|im_end|>\n<|im_start|>assistant\n"
    assert answer == "Return x.<|im_end|>"
    start, user = tokenizer("<|im_start|>user\n").input_ids[:2]
    assert tokenizer.convert_ids_to_tokens([start, user]) == ["<|im_start|>", "user"]
    with_system, _ = chat_texts(Example("a", "codesum", "x", "y", system="Be brief."), tokenizer)
    assert with_system.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nx")


def test_rows_fit_the_context(loaded: Loaded) -> None:
    tokenizer, model = loaded
    for task in ("codegen", "codesum", "base"):
        texts = ["".join(chat_texts(row, tokenizer)) for row in PocketSource(task).examples("train")]
        lengths = [len(ids) for ids in tokenizer(texts).input_ids]
        assert max(lengths) <= model.config.max_position_embeddings
        assert sum(lengths) / len(lengths) < 100


def test_generation_with_a_cache_agrees_with_the_logits(loaded: Loaded) -> None:
    tokenizer, model = loaded
    ids = tokenizer("def solve(n):\n", return_tensors="pt").input_ids
    with torch.no_grad():
        answer = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=5)
        logits = model(answer).logits
    assert torch.equal(logits[0, ids.shape[1] - 1 : -1].argmax(-1), answer[0, ids.shape[1] :])
