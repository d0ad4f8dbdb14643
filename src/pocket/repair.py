"""Bug fixing in the pocket world: programs in which one operator is another of its group, and their repair."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

from src.data.examples import Example
from src.data.prompts import render_user_turn
from src.pocket.benchmarks import problems
from src.pocket.corpus import corpus, results
from src.pocket.programs.composition import INDENT, STYLES
from src.pocket.programs.render import Program, render
from src.utils.seeding import derive_seed

REPAIR_PROMPT = "{prompt}{buggy}"  # signature and docstring, then the wrong body
CANDIDATES = 24  # near misses from which a bug is drawn


def buggy_body(program: Program, rng: random.Random) -> str | None:
    """The body of a near miss in the program's own style; None if none has other code and other results.

    Args:
        program: The right one.
        rng: Draws among the near misses.
    """
    right = results(program.composition)
    style = next(style for style in STYLES if tuple(program.composition.body(style)) == program.body)
    near = [
        variant
        for variant in islice(program.composition.variants(), CANDIDATES)
        if variant.parameters == program.composition.parameters
    ]
    rng.shuffle(near)
    for variant in near:
        body = tuple(variant.body(style))
        if body != program.body and results(variant) not in (None, right):
            return "".join(f"{INDENT}{line}\n" for line in body)
    return None


def repair_example(name: str, program: Program, buggy: str, user_prompt: str) -> Example:
    """Description and wrong body -> right body."""
    shown = program.signature + program.documentation
    return Example(name, "repair", render_user_turn(user_prompt, prompt=shown, buggy=buggy), program.code.rstrip("\n"))


@dataclass(frozen=True)
class RepairSource:
    """Rows of pocket bug fixing; programs without a near miss are left out.

    Args:
        user_prompt: The user turn, with `{prompt}` and `{buggy}`; None: both.
        seed: Seed of the corpus, of names, styles and phrasings, and of the bugs.
        renderings: Number of programs rendered from each composition of the train split; other splits have one.
    """

    user_prompt: str | None = None
    seed: int = 0
    renderings: int = 4

    def examples(self, split: str) -> list[Example]:
        """All rows of a split, in a fixed order.

        Raises:
            UserError: Unknown split, or a `user_prompt` with an unknown placeholder.
        """
        rows = []
        for rendering in range(self.renderings if split == "train" else 1):
            for index, composition in enumerate(corpus(self.seed).compositions(split)):
                rng = random.Random(derive_seed("pocket bug example", self.seed, split, index, rendering))
                program = render(composition, rng)
                if (buggy := buggy_body(program, rng)) is not None:
                    name = f"pocket/repair/{split}/{index}/{rendering}"
                    rows.append(repair_example(name, program, buggy, self.user_prompt or REPAIR_PROMPT))
        return rows


def repair_problems(split: str, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Problems in EvalPlus's format, each with a wrong body under `buggy`, indented as it follows the prompt.

    Args:
        split: "train", "validation" or "test".
        count: Maximum number of problems; those without a near miss are skipped.
        seed: Seed of the corpus and of the bugs.
    """
    return [dict(problem) for problem in _repair_problems(split, count, seed)]


@lru_cache  # a study asks for them with every checkpoint
def _repair_problems(split: str, count: int, seed: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for problem in problems(split, len(corpus(seed).compositions(split)), seed):
        rng = random.Random(derive_seed("pocket bug", seed, problem["task_id"]))
        if len(found) < count and (buggy := buggy_body(_program_of(problem, split, seed), rng)) is not None:
            found.append({**problem, "task_id": problem["task_id"].replace("Pocket/", "PocketBug/"), "buggy": buggy})
    return found


def _program_of(problem: dict[str, Any], split: str, seed: int) -> Program:
    """The program whose code a problem has."""
    index = int(problem["task_id"].rpartition("/")[2])
    body = tuple(line.removeprefix(INDENT) for line in problem["canonical_solution"].splitlines())
    return Program(corpus(seed).compositions(split)[index], problem["entry_point"], "", body)
