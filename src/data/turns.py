"""A row's turns as the chat template writes them, and the place of the row's own text in them."""

from __future__ import annotations

import re

from transformers import PreTrainedTokenizerBase

from src.data.examples import Example
from src.utils.errors import UserError

Span = tuple[int, int]
_SLOT = "\ue000\ue001\ue000"  # private-use characters: no row and no template holds them
_CONTROL = re.compile(r"<[|\uff5c].*[|\uff5c]>")


def chat_texts(example: Example, tokenizer: PreTrainedTokenizerBase) -> tuple[str, str]:
    """The text before the answer, and the answer including its end token, as the chat template writes them.

    Raises:
        UserError: The template cannot be split there, or does not end the answer with the end token.
    """
    if example.prompt is None:
        return "", f"{example.answer}{_end_token(tokenizer)}"
    turns = _turns(example)
    before = _render(tokenizer, turns, add_generation_prompt=True)
    whole = _render(tokenizer, [*turns, {"role": "assistant", "content": example.answer}], add_generation_prompt=False)
    if not whole.startswith(before):
        raise UserError(
            f"row {example.id}: the chat template renders the prompt differently once an answer follows it, "
            "so prompt and answer cannot be separated; set model.chat_template"
        )
    answer, end, rest = whole[len(before) :].rpartition(_end_token(tokenizer))
    if not end or rest.strip():
        tail = whole[-40:]
        raise UserError(
            f"row {example.id}: the chat template ends the answer with {tail!r}, not with the tokenizer's end token "
            f"{_end_token(tokenizer)!r}; set model.eos_token"
        )
    return before, answer + end


def question_span(example: Example, tokenizer: PreTrainedTokenizerBase, before: str) -> Span | None:
    """The place of the user's text in `before`, as `chat_texts` returned it; None if the template rewrites the text."""
    return _place_of(example, tokenizer, before, "user")


def row_spans(example: Example, tokenizer: PreTrainedTokenizerBase, before: str) -> list[Span] | None:
    """The places of the system's and the user's text in `before`, in order; None if the template rewrites one."""
    roles = [] if example.prompt is None else ["user"] if example.system is None else ["system", "user"]
    places = [_place_of(example, tokenizer, before, role) for role in roles]
    found = [place for place in places if place is not None]
    return found if len(found) == len(roles) else None


def control_texts(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str] | None:
    """The texts that the tokenizer reads as control tokens: its special tokens, and others written `<|...|>`."""
    added = tokenizer.added_tokens_decoder.values()
    texts = {token.content for token in added if token.special or _CONTROL.fullmatch(token.content)}
    longest_first = sorted((text for text in texts if len(text) > 1), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


def _place_of(example: Example, tokenizer: PreTrainedTokenizerBase, before: str, role: str) -> Span | None:
    turns = [{**turn, "content": _SLOT} if turn["role"] == role else turn for turn in _turns(example)]
    text = next(turn["content"] for turn in _turns(example) if turn["role"] == role)
    head, slot, tail = _render(tokenizer, turns, add_generation_prompt=True).partition(_SLOT)
    start, end = len(head), len(before) - len(tail)
    fits = bool(slot) and start <= end and before.startswith(head) and before.endswith(tail)
    return (start, end) if fits and before[start:end].strip() == text.strip() else None


def _turns(example: Example) -> list[dict[str, str]]:
    system = [] if example.system is None else [{"role": "system", "content": example.system}]
    return [*system, {"role": "user", "content": example.prompt or ""}]


def _render(tokenizer: PreTrainedTokenizerBase, turns: list[dict[str, str]], add_generation_prompt: bool) -> str:
    if not tokenizer.chat_template:
        raise UserError(
            f"tokenizer {tokenizer.name_or_path!r} has no chat template; expected one to build the turns: "
            "set model.chat_template, or use an instruct checkpoint"
        )
    return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=add_generation_prompt))


def _end_token(tokenizer: PreTrainedTokenizerBase) -> str:
    if not tokenizer.eos_token:
        raise UserError(f"tokenizer {tokenizer.name_or_path!r} has no end token; set model.eos_token")
    return str(tokenizer.eos_token)
