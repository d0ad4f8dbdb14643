"""Compositions as Python source: a signature, a docstring and a body."""

from __future__ import annotations

import random
from dataclasses import dataclass

from src.pocket.programs.composition import INDENT, Composition

# Names are meaningless, so that a summary must come from the code and a program from its description.
NAMES = ("solve", "compute", "process", "evaluate", "answer", "handle", "convert", "work")
# One style is more frequent than the others, so that greedy decoding has a style to settle on.
STYLE_DRAWS = ("comprehension",) * 6 + ("steps",) * 2 + ("loop",) + ("functional",)


@dataclass(frozen=True)
class Program:
    """One rendering of a composition."""

    composition: Composition
    name: str
    docstring: str
    body: tuple[str, ...]

    @property
    def signature(self) -> str:
        return f"def {self.name}({', '.join(self.composition.parameters)}):\n"

    @property
    def documentation(self) -> str:
        return f'{INDENT}"""{self.docstring}"""\n'

    @property
    def code(self) -> str:
        """The indented body, with a newline at its end."""
        return "".join(f"{INDENT}{line}\n" for line in self.body)

    @property
    def source(self) -> str:
        """The whole function with its docstring."""
        return self.signature + self.documentation + self.code


def render(composition: Composition, rng: random.Random) -> Program:
    """Draw a name, a style and a phrasing for a composition."""
    body = composition.body(rng.choice(STYLE_DRAWS))
    return Program(composition, rng.choice(NAMES), composition.sentence(rng), tuple(body))
