"""What a comparison could have found, and what would decide it."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from statistics import NormalDist

from scipy.special import stdtrit

from src.evaluation.statistics.confidence import Contrast

POWER = 0.8
MOST_RUNS = 100  # more training seeds than this are no advice
MOST_ITEMS = 10_000_000


@dataclass(frozen=True)
class Power:
    """Minimal detectable difference, and the sizes at which a study like this one decides in 80% of the cases.

    The difference that is estimated is taken for the true one.

    Attributes:
        detectable: The smallest true difference that this study finds in 80% of the cases.
        items: Items in all that decide, with these runs; None: no number of them, or they decide already.
        runs: Runs that decide, with these items; None: at most 100 do not, or there is one run, so that the variance of
            runs is unknown.
        equivalent: True if the sizes would show equivalence, False if a difference.
    """

    detectable: float
    items: int | None
    runs: int | None
    equivalent: bool


def power_of(contrast: Contrast, margin: float, level: float) -> Power:
    """Compute the power of a comparison.

    Args:
        contrast: The comparison.
        margin: Differences below it count as none; 0: equivalence is not asked for.
        level: Coverage of the interval that decides.
    """
    low, high = contrast.interval(level)
    beyond = NormalDist().inv_cdf(POWER)
    detectable = (high - low) / 2 + beyond * contrast.error
    equivalent = abs(contrast.value) < margin / 2
    target = margin - abs(contrast.value) if equivalent else abs(contrast.value)
    tail = (1 - level) if equivalent else (1 - level) / 2
    if not target or not contrast.error:
        return Power(detectable, None, None, equivalent)
    factor = detectable / contrast.error if not equivalent else NormalDist().inv_cdf(1 - tail) + beyond
    return Power(detectable, _items(contrast, target / factor), _runs(contrast, target, tail, beyond), equivalent)


def _items(contrast: Contrast, error: float) -> int | None:
    """Items with which the standard error is `error`, which these runs allow or not."""
    rest = error**2 - contrast.run_variance / len(contrast.by_run)
    if rest <= 0 or contrast.item_variance <= rest:
        return None
    found = ceil(contrast.n * contrast.item_variance / rest)
    return found if found <= MOST_ITEMS else None


def _runs(contrast: Contrast, target: float, tail: float, beyond: float) -> int | None:
    """Runs with which `target` is found, with the quantile of items and runs together (see `confidence`)."""
    runs = len(contrast.by_run)
    if runs == 1:
        return None
    shared = max(0.0, contrast.item_variance - contrast.run_noise / runs)
    quantile = NormalDist().inv_cdf(1 - tail)
    for count in range(runs + 1, MOST_RUNS + 1):
        between = (contrast.run_noise + contrast.run_variance) / count
        whole = shared + between
        joined = (shared * quantile + between * float(stdtrit(count - 1, 1 - tail))) / whole
        if (joined + beyond) * whole**0.5 <= target:
            return count
    return None
