"""Stop strings: detected while decoding, cut off afterward."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from transformers import GenerationConfig, PreTrainedTokenizerBase


class StopStrings:
    """End an answer before the first stop string.

    Decoding ids to text at every token would cost more than a forward pass of a small model. Only a token that contains
    the last character of a stop string can complete it, so only rows that just drew such a token are checked.

    Args:
        strings: Stop strings; empty: nothing stops.
        tokenizer: Its vocabulary is read once.
    """

    def __init__(self, strings: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> None:
        self.strings = tuple(string for string in strings if string)
        self.tokenizer = tokenizer

    @cached_property
    def completing(self) -> torch.Tensor:
        """Boolean over the vocabulary: tokens that may complete a stop string (parts of a character count as such)."""
        last = {string[-1] for string in self.strings} | {"\N{REPLACEMENT CHARACTER}"}
        texts = self.tokenizer.batch_decode([[token] for token in range(len(self.tokenizer))])
        return torch.tensor([not last.isdisjoint(text) for text in texts])

    def end(self, ids: Sequence[int], start: int = 0) -> int | None:
        """Count the tokens up to and including the one that completes the first stop string, or return None.

        Args:
            ids: The answer so far.
            start: Tokens before this one are known not to complete any.
        """
        if not self.holds(ids):
            return None
        return next(count for count in range(max(start, 0) + 1, len(ids) + 1) if self.holds(ids[:count]))

    def holds(self, ids: Sequence[int]) -> bool:
        """Return True if the text of these ids contains a stop string."""
        text = self.text(ids)
        return any(string in text for string in self.strings)

    def text(self, ids: Sequence[int]) -> str:
        """Decode ids, without special tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def cut(self, text: str) -> tuple[str, bool]:
        """Return the text before the first stop string, and True if there is one."""
        return cut_at(text, self.strings)


def cut_at(text: str, strings: Sequence[str]) -> tuple[str, bool]:
    """Return the text before the first of `strings`, and True if there is one."""
    places = [place for place in map(text.find, strings) if place >= 0]
    return (text[: min(places)], True) if places else (text, False)


def end_tokens(generation: GenerationConfig | None, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """List the tokens that end an answer: those of the generation config and the tokenizer's own.

    This is the rule of every generator, for every way in which a checkpoint came about. Everything else of the
    generation config (sampling, penalties) is left aside: `Decoding` is equal for all models of a comparison.
    """
    configured = generation.eos_token_id if generation is not None else None
    ends = set(configured if isinstance(configured, list) else [configured]) | {tokenizer.eos_token_id}
    return sorted(token for token in ends if token is not None)
