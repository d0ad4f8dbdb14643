"""The few merge points worth generating for, after all points have been ranked by predicted scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def finalists(ranked: Sequence[str], methods: Mapping[str, str], generations: int) -> list[str]:
    """The best point of each method, then the best of the others, up to a number of points.

    Args:
        ranked: Points, the best first.
        methods: Point -> its method.
        generations: Points to choose; every method keeps one even if they are more.

    Returns:
        Points in the order of `ranked`.
    """
    leaders = {methods[name]: name for name in reversed(ranked)}
    kept = set(leaders.values())
    for name in ranked:
        if len(kept) >= generations:
            break
        kept.add(name)
    return [name for name in ranked if name in kept]
