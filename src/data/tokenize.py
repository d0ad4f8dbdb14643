"""Examples -> token ids with the loss on the answer only.

Prompt and answer are tokenized separately and then joined, so that a prompt has the same ids as in generation, where no
answer follows it. The answer ends with the tokenizer's end token where the chat template puts it; text that the
template adds after it (ChatML: a newline) is not part of the row, since generation stops before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

from transformers import PreTrainedTokenizerBase

from src.data.examples import Example
from src.data.table import TokenTable
from src.utils.errors import UserError, unknown_choice

TRUNCATIONS = ("truncate", "drop")
Pair = tuple[list[int], list[int]]


@dataclass(frozen=True)
class LengthReport:
    """Numbers of a task's rows that were truncated or dropped.

    Args:
        rows: Rows before dropping.
        truncated_prompts: Rows whose prompt lost its tail.
        truncated_answers: Rows whose answer lost its tail, and with it the end token: they teach the model not to stop.
        dropped: Rows dropped because they are too long.
        contaminated: Rows dropped before that because they contain a benchmark item.
    """

    rows: int
    truncated_prompts: int = 0
    truncated_answers: int = 0
    dropped: int = 0
    contaminated: int = 0

    def __str__(self) -> str:
        truncated = f"{self.truncated_prompts} prompts truncated, {self.truncated_answers} answers truncated"
        lengths = f"{self.rows} rows, {truncated}, {self.dropped} dropped"
        return f"{lengths}; {self.contaminated} more contain a benchmark item" if self.contaminated else lengths

    @property
    def changed(self) -> bool:
        """True if any row was truncated or dropped."""
        return self.truncated_prompts + self.truncated_answers + self.dropped + self.contaminated > 0

    def __add__(self, other: LengthReport) -> LengthReport:
        sums = (mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True))
        return LengthReport(*sums)


def tokenize(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, max_length: int, truncation: str = "truncate"
) -> tuple[TokenTable, LengthReport]:
    """Tokenize the rows of one task.

    Args:
        examples: The rows; one with `prompt=None` is a raw document with loss on all its tokens and an end token.
        tokenizer: With a chat template, unless all rows are raw documents.
        max_length: Longest row in tokens, prompt and answer together.
        truncation: "truncate" shortens longer rows by `truncated_lengths`, "drop" drops them.

    Returns:
        The table of the rows kept, in their order, and the counts of rows truncated or dropped.

    Raises:
        UserError: No chat template or end token, or an unknown `truncation`.
    """
    if truncation not in TRUNCATIONS:
        raise unknown_choice("truncation", truncation, list(TRUNCATIONS))
    ids, rows, prompts, counts = [], [], [], {"truncated_prompts": 0, "truncated_answers": 0, "dropped": 0}
    for example, (prompt, answer) in zip(examples, _token_pairs(examples, tokenizer), strict=True):
        if len(prompt) + len(answer) > max_length and truncation == "drop":
            counts["dropped"] += 1
            continue
        prompt_length, answer_length = truncated_lengths(len(prompt), len(answer), max_length)
        counts["truncated_prompts"] += prompt_length < len(prompt)
        counts["truncated_answers"] += answer_length < len(answer)
        ids.append(example.id)
        rows.append(prompt[:prompt_length] + answer[:answer_length])
        prompts.append(prompt_length)
    return TokenTable.build(ids, rows, prompts), LengthReport(len(examples), **counts)


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


def chat_texts(example: Example, tokenizer: PreTrainedTokenizerBase) -> tuple[str, str]:
    """The text before the answer, and the answer including its end token, as the chat template writes them.

    Raises:
        UserError: The template cannot be split there, or does not end the answer with the end token.
    """
    if example.prompt is None:
        return "", f"{example.answer}{_end_token(tokenizer)}"
    turns = [] if example.system is None else [{"role": "system", "content": example.system}]
    turns.append({"role": "user", "content": example.prompt})
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


def _token_pairs(examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase) -> list[Pair]:
    texts = [chat_texts(example, tokenizer) for example in examples]
    prompts, answers = (_token_ids([pair[side] for pair in texts], tokenizer) for side in (0, 1))
    return list(zip(prompts, answers, strict=True))


def _token_ids(texts: list[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    if not texts:  # the tokenizer does not accept an empty list
        return []
    # verbose=False: this module checks lengths itself, so the tokenizer need not warn about them
    encoded = tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)
    ids: list[list[int]] = encoded["input_ids"]
    return ids


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
