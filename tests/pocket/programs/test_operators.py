"""Operators mean what their code says, alone and combined."""

from __future__ import annotations

import pytest

from src.pocket.programs.arrangements import ARRANGEMENTS
from src.pocket.programs.operators import Predicate, Transform, both, branch, chain, either, fill, speak
from src.pocket.programs.predicates import INT_PREDICATES, PREDICATES
from src.pocket.programs.transforms import INT_TRANSFORMS, TRANSFORMS
from tests.pocket.conftest import named

VALUES = {
    "int": [*range(-12, 13), 100, -77],
    "char": list("aZ3 .eiz"),
    "word": ["", "a", "noon", "Anna", "tea", "banana", " x "],
}
EVEN, OVER = named(INT_PREDICATES, "even"), named(INT_PREDICATES, "over(2)")
PLUS, SQUARE = named(INT_TRANSFORMS, "plus(5)"), named(INT_TRANSFORMS, "square")


@pytest.mark.parametrize(
    ("template", "expression", "filled"),
    [
        ("{x} ** 2", "x", "x ** 2"),
        ("{x} ** 2", "-x", "(-x) ** 2"),
        ("{x} * 3", "x + 1", "(x + 1) * 3"),
        ("abs({arg})", "x + 1", "abs(x + 1)"),
        ("{x}[:2]", "sorted(f(x)[1], key=len)", "sorted(f(x)[1], key=len)[:2]"),
        ("{x}[:2]", "f(x) + g(x)", "(f(x) + g(x))[:2]"),
        ("{x} == {x}[::-1]", "w.lower()", "w.lower() == w.lower()[::-1]"),
        ("{x} ** 3", "min({arg}, 6)", "min({arg}, 6) ** 3"),
    ],
)
def test_fill_keeps_precedence(template: str, expression: str, filled: str) -> None:
    assert fill(template, expression) == filled


@pytest.mark.parametrize("kind", VALUES)
def test_code_of_scalar_operators_means_what_they_do(kind: str) -> None:
    operators = [operator for groups in (PREDICATES[kind], TRANSFORMS[kind]) for group in groups for operator in group]
    for operator in operators:
        for value in VALUES[kind]:
            assert eval(fill(operator.code, "v"), {"v": value}) == operator.apply(value), (operator.key, value)


@pytest.mark.parametrize("kind", VALUES)
def test_code_of_arrangements_means_what_they_do(kind: str) -> None:
    for arrangement in (each for group in ARRANGEMENTS[kind] for each in group):
        for elements in ([], VALUES[kind], VALUES[kind][::-1] * 2):
            got = eval(fill(arrangement.code, "v"), {"v": list(elements)})
            assert got == arrangement.apply(list(elements)), arrangement.key


def test_combined_operators_by_hand() -> None:
    values = [-2, 3, 4, 5]
    assert [both(EVEN, OVER).apply(x) for x in values] == [False, False, True, False]
    assert [either(EVEN, OVER).apply(x) for x in values] == [True, True, True, True]
    assert [chain(PLUS, SQUARE).apply(x) for x in values] == [9, 64, 81, 100]
    assert [branch(EVEN, SQUARE, PLUS).apply(x) for x in values] == [4, 8, 16, 10]
    assert fill(chain(PLUS, SQUARE).code, "x") == "(x + 5) ** 2"
    assert fill(branch(EVEN, SQUARE, PLUS).code, "x") == "x ** 2 if x % 2 == 0 else x + 5"
    assert both(EVEN, OVER).short == ("* that are even and are greater than two",)
    assert speak(branch(EVEN, SQUARE, PLUS).once[0], "it") == "square it if it is even and otherwise add five to it"


def test_code_of_combined_operators_means_what_they_do() -> None:
    tests = [group[-1] for group in INT_PREDICATES]
    changes = [group[-1] for group in INT_TRANSFORMS]
    combined: list[Predicate | Transform] = [
        *(make(a, b) for make in (both, either) for a in tests for b in tests),
        *(chain(a, b) for a in changes for b in changes),
        *(branch(test, a, b) for test in tests for a in changes for b in changes[:3]),
    ]
    for operator in combined:
        for value in (-7, 0, 3, 9, 12):
            assert eval(fill(operator.code, "v"), {"v": value}) == operator.apply(value), operator.key
