"""Find programs whose verdict changes from run to run: unseeded random numbers, the clock, the order of a set."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from src.evaluation.grading.run_programs import Program, ProgramRun, run_programs
from src.evaluation.sandbox.pool import Sandbox
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


def rechecked(
    programs: Sequence[Program], runs: Sequence[ProgramRun], share: float, sandbox: Sandbox
) -> tuple[list[ProgramRun], Recheck]:
    """Run some programs once more, with another hash seed, and mark those with another verdict; the first counts.

    Args:
        programs: All programs.
        runs: Their runs.
        share: See `recheck_places`.
        sandbox: Where they ran.
    """
    found = list(runs)
    keys = [(run.result.task_id, *run.texts) for run in runs]
    places = recheck_places(keys, share, [place for place, run in enumerate(runs) if run.doubtful])
    chosen = [replace(programs[place], candidates=runs[place].texts) for place in places]
    changed = 0
    for place, again in zip(places, run_programs(chosen, sandbox.reseeded()), strict=True):
        first = runs[place].result
        if (first.base, first.plus) != (again.result.base, again.result.plus):
            found[place] = replace(runs[place], result=replace(first, flaky=True))
            changed += 1
    return found, Recheck(len(places), changed)
