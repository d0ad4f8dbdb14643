"""Training rows of the pocket world: the two tasks, and the pretraining rows of its base model."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from src.data.examples import Example
from src.data.prompts import render_user_turn
from src.pocket.corpus import corpus
from src.pocket.programs.composition import Composition
from src.pocket.programs.render import Program, render
from src.utils.errors import unknown_choice
from src.utils.seeding import derive_seed

# Families of programs by the names of their parameters; every program is in one of them.
FAMILIES = {
    "lists": (("numbers",), ("left", "right")),
    "integers": (("n",), ("x",)),
    "rounds": (("x", "rounds"),),
    "strings": (("text",), ("words",)),
    "tables": (("table",),),
    "rows": (("rows",),),
}
CODEGEN_PROMPT, CODESUM_PROMPT = "{prompt}", "{code}"


@dataclass(frozen=True)
class PocketSource:
    """Rows of one pocket task, rendered from the compositions of a split.

    Args:
        task: "codegen" (signature and docstring -> body), "codesum" (program without docstring -> docstring) or
            "base" (raw programs with docstrings and a few rows of both tasks).
        user_prompt: The user turn of the task: it has `{prompt}` for codegen, `{code}` for codesum; None: just that
            placeholder. "base" holds both tasks and takes only None.
        seed: Seed of the corpus and of names, styles and phrasings.
        renderings: Number of programs rendered from each composition of the train split; other splits have one.
        family: Only programs of this family, one of `FAMILIES`, which then names the task of the rows; None: all.
        task_share: Share of the "base" rows that are task rows, half of them from each task; 0 to 1.
    """

    task: str
    user_prompt: str | None = None
    seed: int = 0
    renderings: int = 4
    task_share: float = 0.1
    family: str | None = None

    def examples(self, split: str) -> list[Example]:
        """All rows of a split, in a fixed order.

        Raises:
            UserError: Unknown task, family or split, or a `user_prompt` with an unknown placeholder.
        """
        if self.family is not None and self.family not in FAMILIES:
            raise unknown_choice("family of pocket programs", self.family, list(FAMILIES))
        makers: dict[str, Callable[[str, Program, random.Random], Example]] = {
            "codegen": lambda name, program, _: codegen_example(name, program, self.user_prompt or CODEGEN_PROMPT),
            "codesum": lambda name, program, _: codesum_example(name, program, self.user_prompt or CODESUM_PROMPT),
            "base": self._base_example,
        }
        if self.task not in makers:
            raise unknown_choice("pocket task", self.task, sorted(makers))
        rows = []
        for rendering in range(self.renderings if split == "train" else 1):
            for index, composition in enumerate(corpus(self.seed).compositions(split)):
                if self.family is not None and _parameters(composition) not in FAMILIES[self.family]:
                    continue
                rng = random.Random(derive_seed("pocket example", self.seed, self.task, split, index, rendering))
                name = f"pocket/{self.task}/{split}/{index}/{rendering}"
                row = makers[self.task](name, render(composition, rng), rng)
                rows.append(row if self.family is None else replace(row, task=self.family))
        return rows

    def _base_example(self, name: str, program: Program, rng: random.Random) -> Example:
        draw = rng.random()
        if draw >= self.task_share:
            return Example(name, "base", None, program.source)
        if draw < self.task_share / 2:
            return codegen_example(name, program, CODEGEN_PROMPT)
        return codesum_example(name, program, CODESUM_PROMPT)


def _parameters(composition: Composition) -> tuple[str, ...]:
    return tuple(composition.parameters)


def codegen_example(name: str, program: Program, user_prompt: str) -> Example:
    """Description -> program: the problem's prompt, and the answer that continues it."""
    prompt = render_user_turn(user_prompt, prompt=program.signature + program.documentation)
    return Example(name, "codegen", prompt, program.code.rstrip("\n"))


def codesum_example(name: str, program: Program, user_prompt: str) -> Example:
    """Program -> description; the code is shown without its docstring."""
    prompt = render_user_turn(user_prompt, code=(program.signature + program.code).rstrip("\n"))
    return Example(name, "codesum", prompt, program.docstring)
