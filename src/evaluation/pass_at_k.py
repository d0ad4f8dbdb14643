"""pass@k from n samples a problem."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from src.utils.errors import UserError


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Unbiased estimate of the chance that at least one of `k` samples is right (arXiv 2107.03374, equation 1).

    Args:
        samples: Number of samples n of the problem.
        correct: Number c of them that are right.
        k: Size of the draw, at most n.

    Returns:
        `1 - C(n - c, k) / C(n, k)`.

    Raises:
        UserError: `k` is below 1 or above n.
    """
    if not 1 <= k <= samples:
        raise UserError(f"pass@{k} needs at least {max(k, 1)} samples of every problem, got {samples}")
    if samples - correct < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(samples - correct + 1, samples + 1))


def mean_pass_at_k(outcomes: Sequence[Sequence[bool]], k: int) -> float:
    """Mean of `pass_at_k` over problems.

    Args:
        outcomes: For every problem, whether each of its samples passed.
        k: Size of the draw.
    """
    return float(np.mean([pass_at_k(len(passed), sum(passed), k) for passed in outcomes]))
