"""Rendered programs do what their composition means, in every style, and are described in plain sentences."""

from __future__ import annotations

import ast
import random
from typing import Any

import pytest

from src.pocket.corpus import corpus
from src.pocket.programs.arrangements import ARRANGEMENTS
from src.pocket.programs.branches import Choice
from src.pocket.programs.composition import STYLES, Composition
from src.pocket.programs.inputs import probes
from src.pocket.programs.origins import SOURCES
from src.pocket.programs.pipeline import Pipeline
from src.pocket.programs.predicates import INT_PREDICATES
from src.pocket.programs.recurrences import Recurrence
from src.pocket.programs.reducers import LIST, SUM
from src.pocket.programs.render import Program, render
from src.pocket.programs.tables import TableRecipe
from src.pocket.programs.transforms import INT_TRANSFORMS, WORD_CHANGES
from tests.pocket.conftest import Run, named

EVEN, FIRST_TWO = named(INT_PREDICATES, "even"), named(ARRANGEMENTS["int"], "first(2)")
SQUARE, DOUBLE = named(INT_TRANSFORMS, "square"), named(INT_TRANSFORMS, "double")
SQUARES = Pipeline(SOURCES[0], (EVEN, SQUARE), SUM)


def same(got: Any, expected: Any) -> bool:
    """Equal in value and type; floats to 1e-9, since `sum` and a loop may round differently."""
    if isinstance(expected, float) and isinstance(got, float):
        return abs(got - expected) <= 1e-9
    return type(got) is type(expected) and got == expected


@pytest.mark.parametrize("style", STYLES)
def test_every_style_does_what_the_composition_means(style: str, run: Run) -> None:
    for composition in corpus(0).compositions("train")[:500]:
        program = Program(composition, "f", "", tuple(composition.body(style)))
        inputs = probes(composition.parameters)
        results = run(program.source, "f", inputs)
        for arguments, result in zip(inputs, results, strict=True):
            assert same(result, composition.run(*arguments)), (composition.key, arguments, program.source)


@pytest.mark.parametrize(
    ("style", "code"),
    [
        ("comprehension", ["return sum(x ** 2 for x in numbers if x % 2 == 0)"]),
        ("steps", ["items = [x ** 2 for x in numbers if x % 2 == 0]", "return sum(items)"]),
        (
            "loop",
            ["total = 0", "for x in numbers:", "    if x % 2 == 0:", "        total += x ** 2", "return total"],
        ),
        ("functional", ["return sum(map(lambda x: x ** 2, filter(lambda x: x % 2 == 0, numbers)))"]),
    ],
)
def test_the_four_styles_of_one_pipeline(style: str, code: list[str]) -> None:
    assert SQUARES.body(style) == code


@pytest.mark.parametrize(
    ("composition", "arguments", "result"),
    [
        (SQUARES, [[1, 2, 4, -6]], 4 + 16 + 36),
        (Pipeline(SOURCES[0], (EVEN, SQUARE, FIRST_TWO), LIST), [[1, 2, 4, -6]], [4, 16]),
        (Choice(((EVEN, SQUARE),), DOUBLE), [3], 6),
        (Choice(((EVEN, SQUARE),), DOUBLE), [4], 16),
        (Recurrence(DOUBLE, "list"), [3, 3], [6, 12, 24]),
        (Recurrence(DOUBLE, "last"), [3, 0], 3),
        (TableRecipe(value_test=EVEN, key_change=named(WORD_CHANGES, "upper")), [{"a": 2, "b": 3}], {"A": 2}),
    ],
)
def test_meanings_by_hand(composition: Composition, arguments: list[Any], result: Any) -> None:
    assert composition.run(*arguments) == result


def test_sentences_are_plain_and_programs_parse() -> None:
    rng = random.Random(0)
    for composition in corpus(0).compositions("train")[:1000]:
        program = render(composition, rng)
        assert not set(program.docstring) & set("*{}\n\\"), program.docstring
        assert program.docstring[0].isupper()
        assert program.docstring.endswith(".")
        assert "  " not in program.docstring
        function = ast.parse(program.source).body[0]
        assert isinstance(function, ast.FunctionDef)
        assert ast.get_docstring(function) == program.docstring
        assert [argument.arg for argument in function.args.args] == list(composition.parameters)


def test_one_composition_has_many_renderings() -> None:
    rng = random.Random(0)
    programs = [render(SQUARES, rng) for _ in range(150)]
    assert {program.body for program in programs} == {tuple(SQUARES.body(style)) for style in STYLES}
    sentences = {program.docstring for program in programs}
    assert len(sentences) >= 10
    assert "Return the sum of the even numbers squared." in sentences
    assert "Take the numbers, keep the even ones, square them and return the sum of the result." in sentences
