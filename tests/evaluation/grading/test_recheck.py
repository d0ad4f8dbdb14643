"""The choice of programs that run again."""

from __future__ import annotations

import pytest

from src.evaluation.grading.recheck import recheck_places

PROGRAMS = [(f"T/{n % 7}", f"text {n}") for n in range(164)]


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.1, 17), (0.001, 1), (1.0, 164)])
def test_share(share: float, count: int) -> None:
    """A share is rounded up."""
    assert len(recheck_places(PROGRAMS, share)) == count


def test_the_choice_depends_on_the_programs_only() -> None:
    chosen = {PROGRAMS[place] for place in recheck_places(PROGRAMS, 0.1)}
    backward = PROGRAMS[::-1]
    assert {backward[place] for place in recheck_places(backward, 0.1)} == chosen


def test_equal_programs_are_one_and_doubtful_ones_always_run() -> None:
    twice = PROGRAMS + PROGRAMS
    places = recheck_places(twice, 0.1, doubtful=[3])
    assert {3, 167} <= set(places)
    assert len({twice[place] for place in places}) <= 18
    assert recheck_places(twice, 0.0, doubtful=[3]) == []
