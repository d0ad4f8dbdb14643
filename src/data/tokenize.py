"""Examples -> token ids with the loss on the answer only.

Prompt and answer are tokenized separately and then joined, so that a prompt has the same ids as in generation, where no
answer follows it. The answer ends with the tokenizer's end token where the chat template puts it; text that the
template adds after it (ChatML: a newline) is not part of the row, since generation stops before it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Any

from transformers import PreTrainedTokenizerBase

from src.data.examples import Example
from src.data.table import TokenTable
from src.data.turns import Span, chat_texts, control_texts, question_span, row_spans
from src.utils.errors import unknown_choice

TRUNCATIONS = ("truncate", "truncate_end", "drop")
Pair = tuple[list[int], list[int]]


@dataclass(frozen=True)
class LengthReport:
    """Numbers of a task's rows that were truncated or dropped.

    Args:
        rows: Rows before dropping.
        truncated_prompts: Rows whose prompt lost its tail.
        truncated_answers: Rows whose answer lost its tail, and with it the end token: they teach the model not to stop.
        dropped: Rows dropped because they are too long, or because the template hides where their text begins.
        contaminated: Rows dropped before that because they contain a benchmark item.
        control_text: Rows whose text looks like control tokens (`<|im_end|>`); it is tokenized as text.
        left_out: Reason -> rows that the source left out before all that; not part of `rows`.
    """

    rows: int
    truncated_prompts: int = 0
    truncated_answers: int = 0
    dropped: int = 0
    contaminated: int = 0
    control_text: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        truncated = f"{self.truncated_prompts} prompts truncated, {self.truncated_answers} answers truncated"
        parts = [f"{self.rows} rows, {truncated}, {self.dropped} dropped"]
        parts += [f"{self.contaminated} more contain a benchmark item"] if self.contaminated else []
        parts += [f"{self.control_text} with control tokens in their text"] if self.control_text else []
        return "; ".join(parts)

    @property
    def changed(self) -> bool:
        """True if any row was truncated, dropped, or holds the text of control tokens."""
        changes = (self.truncated_prompts, self.truncated_answers, self.dropped, self.contaminated, self.control_text)
        return sum(changes) > 0

    def __add__(self, other: LengthReport) -> LengthReport:
        left_out = Counter(self.left_out) + Counter(other.left_out)
        names = [found.name for found in fields(self) if found.name != "left_out"]
        sums: dict[str, Any] = {name: getattr(self, name) + getattr(other, name) for name in names}
        return LengthReport(**sums, left_out=dict(left_out))


def tokenize(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, max_length: int, truncation: str = "truncate"
) -> tuple[TokenTable, LengthReport]:
    """Tokenize the rows of one task.

    Control tokens come from the template only: text of a row that looks like one (`<|im_end|>`) stays text.

    Args:
        examples: The rows; one with `prompt=None` is a raw document with loss on all its tokens and an end token.
        tokenizer: With a chat template, unless all rows are raw documents.
        max_length: Longest row in tokens, prompt and answer together.
        truncation: What happens to longer rows: "truncate" shortens them by `truncated_lengths`, the prompt at the end
            of the user's text, so that the template stays whole; "truncate_end" cuts the end of the prompt, the
            template's text before the answer included, as the reference study did; "drop" drops them.

    Returns:
        The table of the rows kept, in their order, and the counts of rows truncated or dropped.

    Raises:
        UserError: No chat template or end token, or an unknown `truncation`.
    """
    if truncation not in TRUNCATIONS:
        raise unknown_choice("truncation", truncation, list(TRUNCATIONS))
    ids, rows, prompts = [], [], []
    counts: Counter[str] = Counter()
    texts = [chat_texts(example, tokenizer) for example in examples]
    pairs = _token_pairs(examples, texts, tokenizer, counts)
    for example, (before, _), pair in zip(examples, texts, pairs, strict=True):
        short = pair if pair is None else _shortened(example, before, pair, tokenizer, max_length, truncation)
        if pair is None or short is None:
            counts["dropped"] += 1
            continue
        counts["truncated_prompts"] += len(short[0]) < len(pair[0])
        counts["truncated_answers"] += len(short[1]) < len(pair[1])
        ids.append(example.id)
        rows.append(short[0] + short[1])
        prompts.append(len(short[0]))
    report = LengthReport(
        len(examples),
        counts["truncated_prompts"],
        counts["truncated_answers"],
        counts["dropped"],
        control_text=counts["control_text"],
    )
    return TokenTable.build(ids, rows, prompts), report


def truncated_lengths(prompt: int, answer: int, limit: int) -> tuple[int, int]:
    """Numbers of leading tokens of a prompt and its answer to keep, by the reference study's rule.

    A short answer (under half the limit) is kept whole at the expense of the prompt, a short prompt at the expense of
    the answer; if both are long, both are cut in proportion.

    Args:
        prompt: Tokens of the prompt.
        answer: Tokens of the answer with its end token.
        limit: Longest row in tokens.

    Returns:
        Numbers of prompt and answer tokens to keep; together at most `limit`.
    """
    if prompt + answer <= limit:
        return prompt, answer
    if 2 * answer < limit:
        room = limit
    elif 2 * prompt < limit:
        room = limit - prompt
    else:
        room = limit * answer // (prompt + answer)
    kept = min(room, answer)
    return min(prompt, limit - kept), kept


def _shortened(
    example: Example, before: str, pair: Pair, tokenizer: PreTrainedTokenizerBase, max_length: int, truncation: str
) -> Pair | None:
    """Prompt, whose text is `before`, and answer within the limit; None to drop the row."""
    prompt, answer = pair
    if len(prompt) + len(answer) <= max_length:
        return pair
    if truncation == "drop":
        return None
    prompt_length, answer_length = truncated_lengths(len(prompt), len(answer), max_length)
    answer = answer[:answer_length]
    if prompt_length == len(prompt) or truncation == "truncate_end":
        return prompt[:prompt_length], answer
    start, end = _question_tokens(example, before, tokenizer, prompt)
    kept = prompt_length - (len(prompt) - end)  # tokens before the template's end of the user turn
    return (prompt[:kept] + prompt[end:], answer) if kept > start else None


def _question_tokens(
    example: Example, before: str, tokenizer: PreTrainedTokenizerBase, prompt: list[int]
) -> tuple[int, int]:
    """First token of the user's text in a prompt, and the first after it; the whole prompt if it cannot be told."""
    place = question_span(example, tokenizer, before)
    if place is None:
        return 0, len(prompt)
    head, rest = (len(_token_ids([text], tokenizer)[0]) for text in (before[: place[0]], before[place[1] :]))
    return head, len(prompt) - rest


def _token_pairs(
    examples: Sequence[Example],
    texts: Sequence[tuple[str, str]],
    tokenizer: PreTrainedTokenizerBase,
    counts: Counter[str],
) -> list[Pair | None]:
    prompts, answers = (_token_ids([pair[side] for pair in texts], tokenizer) for side in (0, 1))
    pairs: list[Pair | None] = list(zip(prompts, answers, strict=True))
    control = control_texts(tokenizer)
    for number, example in enumerate(examples):
        own = (example.system or "", example.prompt or "", example.answer)
        if control is not None and any(map(control.search, own)):
            counts["control_text"] += 1
            pairs[number] = _as_text(example, texts[number], tokenizer, control)
    return pairs


def _as_text(
    example: Example, texts: tuple[str, str], tokenizer: PreTrainedTokenizerBase, control: re.Pattern[str]
) -> Pair | None:
    """Tokens of a row whose text looks like control tokens, which it must not become; None if it cannot be told."""
    before, answer = texts
    spans = row_spans(example, tokenizer, before)
    if spans is None:
        return None
    ends_at = len(answer) - len(tokenizer.eos_token)
    return _cut_ids(before, spans, tokenizer, control), _cut_ids(answer, [(0, ends_at)], tokenizer, control)


def _cut_ids(
    text: str, spans: Sequence[Span], tokenizer: PreTrainedTokenizerBase, control: re.Pattern[str]
) -> list[int]:
    """Token ids of a text that is cut inside every control text of the spans, so that none is recognized."""
    cuts = [start + found.start() + 1 for start, end in spans for found in control.finditer(text[start:end])]
    pieces = [text[start:end] for start, end in pairwise([0, *cuts, len(text)])]
    return [token for ids in _token_ids(pieces, tokenizer) for token in ids]


def _token_ids(texts: list[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    if not texts:  # the tokenizer does not accept an empty list
        return []
    # verbose=False: this module checks lengths itself, so the tokenizer need not warn about them
    encoded = tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)
    ids: list[list[int]] = encoded["input_ids"]
    return ids
