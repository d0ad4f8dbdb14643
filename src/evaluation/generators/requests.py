"""The answers that are still to be drawn, with everything a decoder needs for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from src.evaluation.generators.encoding import encode, render
from src.evaluation.generators.samples import Decoding, Prompt, Sample
from src.utils.progress import say


@dataclass(frozen=True)
class Asked:
    """One answer to draw.

    Attributes:
        prompt: What is asked.
        index: Which of the prompt's samples.
        text: The prompt as the model sees it.
        ids: Its tokens.
        limit: New tokens at most: what `Decoding` allows and the context holds; 0 where the prompt fills it.
    """

    prompt: Prompt
    index: int
    text: str
    ids: list[int]
    limit: int


def ask(
    prompts: Sequence[Prompt],
    decoding: Decoding,
    skip: frozenset[tuple[str, int]],
    tokenizer: PreTrainedTokenizerBase,
    context: int,
) -> list[Asked]:
    """Render and encode prompts, one entry an answer.

    Args:
        prompts: Any number.
        decoding: Its `samples` answers are drawn for each prompt.
        skip: (prompt id, sample index) pairs that are there already.
        tokenizer: Of the model.
        context: Longest input of the model, in tokens.

    Raises:
        UserError: A chat prompt meets a tokenizer without a template.
    """
    texts = [render(prompt, tokenizer) for prompt in prompts]
    ids = encode(texts, [prompt.chat for prompt in prompts], tokenizer)
    return [
        Asked(prompt, index, text, row, max(0, min(decoding.max_new_tokens, context - len(row))))
        for prompt, text, row in zip(prompts, texts, ids, strict=True)
        for index in range(decoding.samples)
        if (prompt.id, index) not in skip
    ]


def without_room(asked: Sequence[Asked], context: int) -> Iterator[Sample]:
    """Empty answers to the prompts that fill the model's context, with a line that says so."""
    full = [one for one in asked if one.limit == 0]
    if full:
        say(f"{len(full)} prompts fill the context of {context} tokens, first {full[0].prompt.id}: they go unanswered")
    for one in full:
        yield Sample(one.prompt.id, one.text, "", one.index, 0, "context")
