"""From a prompt to the text and the ids that a model sees."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedTokenizerBase

from src.evaluation.generators.samples import Prompt
from src.utils.errors import UserError

_CUT = "<<|the assistant turn is cut here|>>"


def render(prompt: Prompt, tokenizer: PreTrainedTokenizerBase) -> str:
    """The text of a prompt: through the chat template up to where the assistant writes on, or raw.

    A prefill is rendered as part of the assistant turn and the turn is cut behind it, so templates that put something
    between header and content are followed (EvalPlus does the same).

    Raises:
        UserError: A chat prompt and a tokenizer without a chat template.
    """
    if not prompt.chat:
        return prompt.text
    if not tokenizer.chat_template:
        raise UserError(
            "the tokenizer has no chat template; train with one, or set benchmark.chat=false for raw prompts"
        )
    messages: list[dict[str, Any]] = [{"role": "user", "content": prompt.text}]
    if prompt.system is not None:
        messages.insert(0, {"role": "system", "content": prompt.system})
    if not prompt.prefill:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    messages.append({"role": "assistant", "content": prompt.prefill + _CUT})
    return str(tokenizer.apply_chat_template(messages, tokenize=False)).partition(_CUT)[0]


def encode(texts: list[str], chat: list[bool], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Token ids of rendered prompts; raw ones get the tokenizer's own special tokens, templates carry theirs."""
    encoded: dict[int, list[int]] = {}
    for special in (False, True):
        rows = [row for row, is_chat in enumerate(chat) if is_chat is not special]
        if rows:
            # verbose=False: whoever asks checks lengths, the tokenizer need not warn about them
            ids = tokenizer([texts[row] for row in rows], add_special_tokens=special, verbose=False)["input_ids"]
            encoded.update(zip(rows, ids, strict=True))
    return [encoded[row] for row in range(len(texts))]
