"""Recipes with `tokenizer_source: base` match rows by token as mergekit does."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from src.checkpoints import Checkpoint
from tests.merging.mergekit_yaml import zoo
from tests.merging.tools import largest_difference

TOKENS = [f"token{number}" for number in range(64)]
NEW = 6  # tokens of the specialists that the base lacks
METHODS: dict[str, dict[str, Any]] = {
    "linear": {},
    "task_arithmetic": {},
    "ties": {"density": 0.4},
    "breadcrumbs": {"density": 0.7, "gamma": 0.1},
}


def write_tokenizer(directory: Path, tokens: list[str]) -> None:
    import tokenizers
    import transformers

    words = {token: row for row, token in enumerate(tokens)}
    model = tokenizers.models.WordLevel(words, unk_token=tokens[0])
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizers.Tokenizer(model))
    tokenizer.save_pretrained(directory)


def write_parents(root: Path, architecture: str, seed: int) -> None:
    """The parents of the zoo; specialists have all tokens of the base in another order, and some more."""
    import transformers

    zoo.make_parents(root, architecture)
    write_tokenizer(root / "models" / "base", TOKENS)
    for number, name in enumerate(zoo.PARENTS[1:]):
        tokens = TOKENS + [f"{name}{new}" for new in range(NEW)]
        random.Random(seed + number).shuffle(tokens)
        place = root / "models" / name
        model = transformers.AutoModelForCausalLM.from_pretrained(place, dtype=torch.bfloat16)
        model.resize_token_embeddings(len(tokens))
        order = [TOKENS.index(token) if token in TOKENS else len(TOKENS) for token in tokens]
        layers = (model.get_input_embeddings(), model.get_output_embeddings())
        for weight in {id(layer.weight): layer.weight for layer in layers}.values():  # one if they are tied
            weight.data = weight.data[order]
        model.save_pretrained(place)
        write_tokenizer(place, tokens)


def recipe_of(root: Path, method: str, seed: int) -> dict[str, Any]:
    """A recipe with random weights, over two or three of the specialists in any order."""
    draw = random.Random(seed)
    chosen = draw.sample(zoo.PARENTS[1:], draw.choice([2, 3]))
    models = [
        {"model": str(root / "models" / name), "parameters": {"weight": draw.uniform(0.1, 1), **METHODS[method]}}
        for name in chosen
    ]
    base = str(root / "models" / "base")
    if method == "linear":  # mergekit counts the base among its models
        models.append({"model": base, "parameters": {"weight": draw.uniform(0.1, 1)}})
    node = {"merge_method": method, "base_model": base, "models": models, "tokenizer_source": "base"}
    return node | {"dtype": "float32", "out_dtype": "float32"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # from transformers and mergekit
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("architecture", zoo.ARCHITECTURES)
def test_rows_are_matched_as_mergekit_matches_them(tmp_path: Path, architecture: str, seed: int) -> None:
    write_parents(tmp_path, architecture, seed)
    for method in METHODS:
        node = recipe_of(tmp_path, method, seed)
        found = zoo.Merge.of(node).run()
        assert largest_difference(found, zoo.theirs(node, tmp_path / method)) <= 5e-7, method
        assert found["model.embed_tokens.weight"].shape == (len(TOKENS), 32)
        assert not torch.equal(found["model.embed_tokens.weight"], _base_rows(tmp_path)), method


def _base_rows(root: Path) -> torch.Tensor:
    return Checkpoint(root / "models" / "base").tensor("model.embed_tokens.weight").float()
