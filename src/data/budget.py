"""Length of a run, and the rows of the stream that each optimizer step takes.

S steps.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from src.data.mixture import Mixture
from src.utils.errors import UserError
from src.utils.validation import checked_dataclass

Count = Annotated[int, Field(ge=1)]


@checked_dataclass("strategy")
class Budget:
    """The size of a step and the length of a run.

    Args:
        batch_size: Rows per step, over all ranks; set this or `batch_tokens`.
        batch_tokens: Tokens per step, prompts included: equal numbers of steps then cost the same on any data.
        steps: Optimizer steps; set one of `steps`, `epochs` and `tokens`.
        epochs: Passes over the rows.
        tokens: Tokens of the whole run, prompts included.
    """

    batch_size: Count | None = None
    batch_tokens: Count | None = None
    steps: Count | None = None
    epochs: Annotated[float, Field(gt=0)] | None = None
    tokens: Count | None = None

    def __post_init__(self) -> None:
        _one_of({"batch_size": self.batch_size, "batch_tokens": self.batch_tokens})
        _one_of({"steps": self.steps, "epochs": self.epochs, "tokens": self.tokens})


def step_starts(mixture: Mixture, budget: Budget) -> NDArray[np.int64]:
    """Stream position at which each step begins.

    A step of `batch_tokens` takes the rows that end inside its window of tokens. Windows never drift: k steps hold k
    windows of tokens, up to part of a row.

    Args:
        mixture: The stream of rows.
        budget: Size of a step and length of the run.

    Returns:
        Stream positions, int64 (S + 1); the last is the end. The last step may be smaller.
    """
    if budget.batch_size is not None:
        total = _rows_of(mixture, budget, budget.batch_size)
        return np.minimum(np.arange(-(-total // budget.batch_size) + 1) * budget.batch_size, total)
    assert budget.batch_tokens is not None
    if budget.steps is not None:
        ends = _ends(mixture, budget.steps * budget.batch_tokens)
        windows = np.arange(budget.steps + 1) * budget.batch_tokens
    else:
        ends = np.cumsum(mixture.stream_lengths(_rows_of(mixture, budget, 1)))
        windows = np.arange(-(-int(ends[-1]) // budget.batch_tokens) + 1) * budget.batch_tokens
    return np.unique(np.searchsorted(ends, windows, side="right"))


def _rows_of(mixture: Mixture, budget: Budget, batch_size: int) -> int:
    if budget.epochs is not None:
        return max(1, round(budget.epochs * len(mixture)))
    if budget.steps is not None:
        return budget.steps * batch_size
    assert budget.tokens is not None
    return int(np.searchsorted(_ends(mixture, budget.tokens), budget.tokens)) + 1


def _ends(mixture: Mixture, tokens: int) -> NDArray[np.int64]:
    """Running sum of the tokens of the stream, until it reaches `tokens`."""
    rows = len(mixture)
    while True:
        ends: NDArray[np.int64] = np.cumsum(mixture.stream_lengths(rows))
        if ends[-1] >= tokens:
            return ends
        rows = max(2 * rows, int(rows * tokens / ends[-1]))


def _one_of(given: dict[str, float | None]) -> None:
    named = {name: value for name, value in given.items() if value is not None}
    if len(named) != 1:
        got = ", ".join(f"strategy.{name}={value}" for name, value in named.items()) or "none"
        raise UserError(f"expected one of {', '.join(f'strategy.{name}' for name in given)}, got {got}")
