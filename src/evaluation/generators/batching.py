"""Which prompts share a forward pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def batches(lengths: Sequence[int], new_tokens: int, token_budget: int) -> Iterator[list[int]]:
    """Group prompts of like length so that no group's key/value cache exceeds the budget.

    Args:
        lengths: Tokens of each prompt.
        new_tokens: Longest answer.
        token_budget: Most tokens, prompts and answers with padding, that a group may hold; a longer single prompt
            still gets a group of its own.

    Yields:
        Indices into `lengths`, longest prompts first, so that memory trouble shows at once.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    while order:
        size = max(1, token_budget // (lengths[order[0]] + new_tokens))
        yield order[:size]
        order = order[size:]
