from __future__ import annotations

import random

import pytest

from src.data.examples import Example
from src.data.turns import chat_texts
from src.evaluation.generators.requests import batches, encode, render
from src.evaluation.generators.samples import Prompt
from src.utils.errors import UserError
from tests.evaluation.generators.tiny import tiny_tokenizer


def test_chat_prompt_ends_where_the_assistant_begins() -> None:
    assert render(Prompt("a", "Hi"), tiny_tokenizer()) == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


def test_a_prefill_begins_the_assistant_turn() -> None:
    prompt = Prompt("a", "Hi", prefill="Here:\n```python\n")
    assert render(prompt, tiny_tokenizer()) == (
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHere:\n```python\n"
    )


def test_raw_prompt_is_left_alone() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    assert render(Prompt("a", "def f(", chat=False), tokenizer) == "def f("
    with pytest.raises(UserError, match=r"no chat template.*benchmark\.chat=false"):
        render(Prompt("a", "Hi"), tokenizer)


def test_prompt_is_that_of_training_to_the_token() -> None:
    tokenizer = tiny_tokenizer()
    before, _ = chat_texts(Example("r", "codegen", "def f(x):\n", "    return x"), tokenizer)
    assert render(Prompt("a", "def f(x):\n"), tokenizer) == before


def test_special_tokens_of_a_template_are_single_ids_and_not_doubled() -> None:
    tokenizer = tiny_tokenizer()
    texts = [render(Prompt("a", "é"), tokenizer), "ab"]
    chat, raw = encode(texts, [True, False], tokenizer)
    assert chat.count(tokenizer.convert_tokens_to_ids("<|im_start|>")) == 2
    assert tokenizer.decode(chat) == texts[0]
    assert len(raw) == 2


def test_batches_hand_worked() -> None:
    # longest first: 8+2=10 tokens per row, two fit into 20; then 3+2=5, four fit
    assert list(batches([3, 8, 1, 7, 2], new_tokens=2, token_budget=20)) == [[1, 3], [0, 4, 2]]


def test_each_prompt_once_and_no_group_above_the_budget() -> None:
    generator = random.Random(0)
    lengths = [generator.randint(1, 500) for _ in range(300)]
    groups = list(batches(lengths, 100, 4000))
    assert sorted(index for group in groups for index in group) == list(range(300))
    for group in groups:
        longest = max(lengths[index] for index in group)
        assert len(group) == 1 or len(group) * (longest + 100) <= 4000


def test_a_prompt_above_the_budget_gets_its_own_batch() -> None:
    assert list(batches([50, 5], 10, 20)) == [[0], [1]]
    assert list(batches([], 10, 20)) == []
