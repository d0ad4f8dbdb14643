"""The decoding loop against transformers' own `generate`, and against itself with other batches."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import torch
from transformers import Qwen2ForCausalLM

from src.evaluation.generators.decode import decode
from src.evaluation.generators.kv_cache import GROWTH, GrowingLayer
from src.evaluation.generators.samples import Decoding
from src.evaluation.generators.sampling import keys
from tests.evaluation.generators.tiny import tiny_model

ENDS = list(range(0, 258, 40))  # several end tokens, so that random weights end answers at different lengths


@pytest.fixture(scope="module")
def model() -> Qwen2ForCausalLM:
    return tiny_model()


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    generator = random.Random(0)
    return [[generator.randrange(256) for _ in range(generator.randint(1, 40))] for _ in range(24)]


def answers(
    model: Qwen2ForCausalLM, prompts: list[list[int]], decoding: Decoding, **options: object
) -> list[list[int]]:
    """Answers in the order of the prompts; each prompt must be answered once."""
    limits = [decoding.max_new_tokens] * len(prompts)
    found = list(decode(model, prompts, limits, decoding, ENDS, **options))  # type: ignore[arg-type]
    assert sorted(row for row, _ in found) == list(range(len(prompts)))
    return [ids for _, ids in sorted(found)]


def one_by_one(model: Qwen2ForCausalLM, prompts: list[list[int]], decoding: Decoding) -> list[list[int]]:
    return [answers(model, [prompt], decoding)[0] for prompt in prompts]


def reference(model: Qwen2ForCausalLM, prompt: list[int], decoding: Decoding) -> list[int]:
    ids = torch.tensor([prompt])
    output = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=decoding.max_new_tokens,
        do_sample=False,
        repetition_penalty=decoding.repetition_penalty,
        pad_token_id=256,
        eos_token_id=ENDS,
    )
    return output[0, len(prompt) :].tolist()


@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_greedy_equals_transformers_one_prompt_at_a_time(
    model: Qwen2ForCausalLM, prompts: list[list[int]], penalty: float
) -> None:
    decoding = Decoding(max_new_tokens=40, repetition_penalty=penalty)
    found = answers(model, prompts, decoding)
    assert found == [reference(model, prompt, decoding) for prompt in prompts]
    assert len({len(ids) for ids in found}) > 2, "answers should end at different lengths for this test to mean much"


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_padding_order_and_dropping_rows_change_nothing(
    model: Qwen2ForCausalLM, prompts: list[list[int]], temperature: float
) -> None:
    decoding = Decoding(max_new_tokens=40, temperature=temperature)

    def drawn(order: list[int]) -> list[list[int]]:
        key = keys(0, [(f"p{row}", 0) for row in order], 40) if temperature else None
        found = answers(model, [prompts[row] for row in order], decoding, key_BT=key)
        return [found[order.index(row)] for row in range(len(order))] if len(order) == len(prompts) else found

    together = drawn(list(range(len(prompts))))
    assert drawn(list(range(len(prompts)))[::-1]) == together
    assert [drawn([row])[0] for row in range(len(prompts))] == together


def test_looking_for_ends_less_often_changes_nothing(model: Qwen2ForCausalLM, prompts: list[list[int]]) -> None:
    decoding = Decoding(max_new_tokens=40)
    for every in (3, 8, 100):
        assert answers(model, prompts, decoding, check_every=every) == answers(model, prompts, decoding)


def test_logits_of_a_padded_batch_equal_those_of_a_lone_prompt(model: Qwen2ForCausalLM) -> None:
    """Teacher forcing through the cache: with padding on the left the same numbers come out."""
    seen: list[torch.Tensor] = []
    hook = model.lm_head.register_forward_hook(lambda *arguments: seen.append(arguments[2].clone()))
    try:
        answers(model, [[5, 6, 7], [9] * 30], Decoding(max_new_tokens=6))
        padded = [logits[0, -1] for logits in seen]
        seen.clear()
        answers(model, [[5, 6, 7]], Decoding(max_new_tokens=6))
        alone = [logits[0, -1] for logits in seen]
    finally:
        hook.remove()
    for one, other in zip(padded, alone, strict=False):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_every_row_has_its_own_limit(model: Qwen2ForCausalLM) -> None:
    decoding = Decoding(max_new_tokens=30)
    whole = one_by_one(model, [[1, 2], [3], [4, 5, 6]], decoding)
    found = dict(decode(model, [[1, 2], [3], [4, 5, 6]], [1, 30, 5], decoding, ENDS))
    assert [found[0], found[1], found[2]] == [whole[0][:1], whole[1], whole[2][:5]]


def test_stop_strings_are_checked_only_after_a_completing_token(model: Qwen2ForCausalLM) -> None:
    decoding = Decoding(max_new_tokens=30)
    whole = answers(model, [[1, 2, 3]], decoding)[0]
    assert len(whole) > 6
    token = whole[4]
    asked: list[list[int]] = []

    class Stops:
        strings = ("x",)
        completing = torch.nn.functional.one_hot(torch.tensor(token), 258).bool()

        def end(self, ids: Sequence[int], start: int) -> int | None:
            asked.append(list(ids))
            return len(ids)

    found = answers(model, [[1, 2, 3]], decoding, stops=Stops())[0]
    assert found == whole[: whole.index(token) + 1]
    assert asked == [found]


def test_ids_that_are_no_token_of_the_tokenizer_may_be_drawn(model: Qwen2ForCausalLM) -> None:
    """Published vocabularies are padded: the output head has more rows than the tokenizer has tokens."""
    whole = answers(model, [[1, 2, 3]], Decoding(max_new_tokens=30))[0]

    class Stops:
        strings = ("x",)
        completing = torch.zeros(max(whole), dtype=torch.bool)  # the largest id that is drawn lies past its end

        def end(self, ids: Sequence[int], start: int) -> int | None:
            return None

    assert answers(model, [[1, 2, 3]], Decoding(max_new_tokens=30), stops=Stops())[0] == whole


def test_backends_with_masks_of_their_own_get_the_same_answers(
    model: Qwen2ForCausalLM, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flash attention takes the plain padding mask; so can transformers' own paths."""
    decoding = Decoding(max_new_tokens=30)
    expected = answers(model, prompts, decoding)
    monkeypatch.setattr("src.evaluation.generators.decode.ADDITIVE_MASKS", ())
    assert answers(model, prompts, decoding) == expected
    monkeypatch.undo()
    eager = tiny_model()
    eager.set_attn_implementation("eager")
    assert answers(eager, prompts, decoding) == expected


def test_growing_cache_equals_concatenation() -> None:
    layer = GrowingLayer()
    generator = torch.Generator().manual_seed(0)
    whole = torch.randn(3, 2, 2 * GROWTH + 10, 4, generator=generator)
    parts = [5, 1, GROWTH, 1, 1, GROWTH + 2]
    start = 0
    for part in parts:
        piece = whole[:, :, start : start + part]
        keys, values = layer.update(piece, -piece)
        start += part
        assert torch.equal(keys, whole[:, :, :start])
        assert torch.equal(values, -whole[:, :, :start])
        assert layer.get_seq_length() == start
    layer.batch_select_indices(torch.tensor([2, 0]))
    assert torch.equal(layer.keys, whole[[2, 0], :, :start])
