"""The answers that are still to be drawn, with everything a decoder needs for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from src.evaluation.generators.encoding import encode, render
from src.evaluation.samples import Decoding, Prompt
from src.utils.errors import UserError


@dataclass(frozen=True)
class Asked:
    """One answer to draw.

    Attributes:
        prompt: What is asked.
        index: Which of the prompt's samples.
        text: The prompt as the model sees it.
        ids: Its tokens.
        limit: New tokens at most: what `Decoding` allows and the context holds.
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
        UserError: A prompt fills the context, or a chat prompt meets a tokenizer without a template.
    """
    texts = [render(prompt, tokenizer) for prompt in prompts]
    ids = encode(texts, [prompt.chat for prompt in prompts], tokenizer)
    for prompt, row in zip(prompts, ids, strict=True):
        if len(row) >= context:
            raise UserError(
                f"prompt {prompt.id} has {len(row)} tokens and the model a context of {context}: nothing is left for "
                "an answer; drop the row or use a model with a longer context"
            )
    return [
        Asked(prompt, index, text, row, min(decoding.max_new_tokens, context - len(row)))
        for prompt, text, row in zip(prompts, texts, ids, strict=True)
        for index in range(decoding.samples)
        if (prompt.id, index) not in skip
    ]
