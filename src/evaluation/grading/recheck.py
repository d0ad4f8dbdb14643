"""Find programs whose verdict changes from run to run: unseeded random numbers, the clock, the order of a set."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from src.utils.seeding import derive_seed


@dataclass(frozen=True)
class Recheck:
    """Programs that ran again in other processes with another hash seed.

    Attributes:
        programs: Number of programs, equal ones included.
        changed: Number of those with another verdict.
    """

    programs: int = 0
    changed: int = 0


def recheck_places(programs: Sequence[tuple[str, ...]], share: float, doubtful: Iterable[int] = ()) -> list[int]:
    """Choose the programs to run again: those in doubt, and a share of the different programs of the others.

    The choice depends only on the programs, so that it is the same in every run.

    Args:
        programs: The problem and texts of each program.
        share: Share of the different programs, rounded up; 0: none, not even the doubtful ones.
        doubtful: Places of programs that always run again.

    Returns:
        Places, in order.
    """
    if not share:
        return []
    different = sorted(set(programs), key=lambda program: derive_seed("recheck", *program))
    chosen = {*different[: math.ceil(share * len(different))], *(programs[place] for place in doubtful)}
    return [place for place, program in enumerate(programs) if program in chosen]
