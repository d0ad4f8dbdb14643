"""Turn prompts into generation requests: text, token ids, answer length, and batches of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from src.evaluation.generators.samples import Decoding, Prompt, Sample
from src.utils.errors import UserError
from src.utils.progress import say

_CUT = "<<|the assistant turn is cut here|>>"


@dataclass(frozen=True)
class GenerationRequest:
    """One answer to generate.

    Attributes:
        prompt: The prompt.
        index: Index among the prompt's samples.
        text: The prompt as the model sees it.
        ids: Token ids of `text`.
        limit: Maximum number of new tokens, from `Decoding` and the model's context; 0 if the prompt fills the context.
    """

    prompt: Prompt
    index: int
    text: str
    ids: list[int]
    limit: int


def generation_requests(
    prompts: Sequence[Prompt],
    decoding: Decoding,
    skip: frozenset[tuple[str, int]],
    tokenizer: PreTrainedTokenizerBase,
    context: int,
) -> list[GenerationRequest]:
    """Render and encode prompts.

    Args:
        prompts: Any number.
        decoding: Its `samples` answers are drawn for each prompt.
        skip: (prompt id, sample index) pairs that exist already.
        tokenizer: Tokenizer of the model.
        context: Longest input of the model, in tokens.

    Returns:
        One request per answer.

    Raises:
        UserError: The tokenizer has no template for a chat prompt.
    """
    texts = [render(prompt, tokenizer) for prompt in prompts]
    ids = encode(texts, [prompt.chat for prompt in prompts], tokenizer)
    return [
        GenerationRequest(prompt, index, text, row, max(0, min(decoding.max_new_tokens, context - len(row))))
        for prompt, text, row in zip(prompts, texts, ids, strict=True)
        for index in range(decoding.samples)
        if (prompt.id, index) not in skip
    ]


def over_context(requests: Sequence[GenerationRequest], context: int) -> Iterator[Sample]:
    """Return empty samples for prompts that fill the model's context, with a message."""
    full = [request for request in requests if request.limit == 0]
    if full:
        first = full[0].prompt.id
        say(f"{len(full)} prompts fill the context of {context} tokens and get no answer; the first is {first}")
    for request in full:
        yield Sample(request.prompt.id, request.text, "", request.index, 0, "context")


def render(prompt: Prompt, tokenizer: PreTrainedTokenizerBase) -> str:
    """Render a prompt, either with the chat template up to where the assistant continues, or raw.

    A prefill is rendered as part of the assistant turn, which is then cut after it. This handles templates that put
    text between header and content (EvalPlus does the same).

    Raises:
        UserError: The tokenizer has no template for a chat prompt.
    """
    if not prompt.chat:
        return prompt.text
    if not tokenizer.chat_template:
        raise UserError(
            "the tokenizer has no chat template; train with one, or set benchmark.chat=false for raw prompts"
        )
    messages: list[dict[str, Any]] = [{"role": "user", "content": prompt.text}]
    if not prompt.prefill:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    messages.append({"role": "assistant", "content": prompt.prefill + _CUT})
    return str(tokenizer.apply_chat_template(messages, tokenize=False)).partition(_CUT)[0]


def encode(texts: list[str], chat: list[bool], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Encode rendered prompts; raw ones get the tokenizer's special tokens, templates bring their own."""
    encoded: dict[int, list[int]] = {}
    for special in (False, True):
        rows = [row for row, is_chat in enumerate(chat) if is_chat is not special]
        if rows:
            # verbose=False: `over_context` checks lengths, so the tokenizer need not warn about them
            ids = tokenizer([texts[row] for row in rows], add_special_tokens=special, verbose=False)["input_ids"]
            encoded.update(zip(rows, ids, strict=True))
    return [encoded[row] for row in range(len(texts))]


def batches(lengths: Sequence[int], new_tokens: int, token_budget: int) -> Iterator[list[int]]:
    """Group prompts of similar length so that no group's key/value cache exceeds the budget.

    Args:
        lengths: Number of tokens of each prompt.
        new_tokens: Number of tokens of the longest answer.
        token_budget: Maximum number of tokens per group, prompts and answers with padding; a single prompt that
            exceeds it still gets its own group.

    Yields:
        Indices into `lengths`, longest prompts first, so that running out of memory shows at once.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    while order:
        size = max(1, token_budget // (lengths[order[0]] + new_tokens))
        yield order[:size]
        order = order[size:]
