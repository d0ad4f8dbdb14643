"""Calls of functions and of LeetCode's `Solution`, with literal arguments and values."""

import pytest

from src.evaluation.grading.forms.registry import read_problems
from src.evaluation.grading.grade import NEVER, score_answers
from src.evaluation.grading.programs import Answer
from src.utils.errors import UserError
from tests.evaluation.sandbox.conftest import sandbox  # noqa: F401 (a fixture)

SOLUTION = "class Solution:\n    def pairs(self, xs: List[int], k: int) -> List[int]:\n        {}\n"
RIGHT = SOLUTION.format("return [x for x in xs if x > k]")


def row(**changes):
    cases = [[[[1, 5, 7], 4], [5, 7]], [[[], 0], []]]
    tests = {"form": "calls", "header": "from typing import *\n", "cases": cases, "seconds": 1.0, **changes}
    return {"task_id": "Pairs/0", "prompt": "Find.", "entry_point": "pairs", "tests": tests}


def grade(sandbox, problem, *programs):  # noqa: F811
    answers = [Answer("Pairs/0", (text,), "") for text in programs]
    return score_answers(read_problems([problem]), answers, sandbox, None, NEVER).results


PROGRAMS = {
    "method": (RIGHT, "pass", ""),
    "function": ("def pairs(xs, k):\n    return [x for x in xs if x > k]", "pass", ""),
    "tuple": (SOLUTION.format("return tuple(x for x in xs if x > k)"), "pass", ""),
    "state": (SOLUTION.format("self.n = getattr(self, 'n', 0) + 1; return [5, 7] if self.n == 1 else []"), "pass", ""),
    "wrong": (SOLUTION.format("return xs"), "fail", "test 0: wrong output"),
    "set": (SOLUTION.format("return {x for x in xs if x > k}"), "fail", "test 0: wrong output"),
    "object that equals all": (
        SOLUTION.format("return type('A', (), {'__eq__': lambda s, o: True})()"), "fail", "test 0: wrong output"
    ),
    "too large": (SOLUTION.format("return [0] * 10**6"), "fail", "test 0: wrong output"),
    "raises": (SOLUTION.format("raise KeyError(3)"), "fail", "test 0: KeyError"),
    "no syntax": ("class Solution:\n    def", "fail", "SyntaxError"),
    "other name": ("def other(): pass", "fail", "NameError"),
    "end": (SOLUTION.format("import os; os._exit(0)"), "fail", "test 0: the program's process ended"),
}  # fmt: skip


def test_programs(sandbox):  # noqa: F811
    results = grade(sandbox, row(), *(text for text, _, _ in PROGRAMS.values()))
    for (name, (_, verdict, detail)), result in zip(PROGRAMS.items(), results, strict=True):
        assert result.base == verdict, name
        assert result.detail.startswith(detail), name
        assert bool(result.detail) == (verdict == "fail")


def test_endless(sandbox):  # noqa: F811
    [result] = grade(sandbox, row(seconds=0.1), SOLUTION.format("while True: pass"))
    assert (result.base, result.detail) == ("timeout", "test 0: cpu limit")


def test_a_failure_shows_arguments_and_both_values(sandbox):  # noqa: F811
    [result] = grade(sandbox, row(), SOLUTION.format("return xs[:1]"))
    failure = result.failure
    assert (failure.input, failure.expected, failure.got) == ("[[1, 5, 7], 4]", "[5, 7]", "[1]")


def test_expected_values_are_not_in_the_program(sandbox):  # noqa: F811
    secret = 918273645
    search = (
        "import gc\n        return next((o for o in gc.get_objects() if type(o) is list and 918273640 + 5 in o), 0)"
    )
    problem = row(cases=[[[[1], 2], [secret]]])
    hostile, honest = grade(sandbox, problem, SOLUTION.format(search), SOLUTION.format("return [918273645]"))
    assert (hostile.base, honest.base) == ("fail", "pass")


def test_the_first_element_is_right_where_the_data_says_so(sandbox):  # noqa: F811
    program = "def pairs(xs, k):\n    return len(xs)"
    cases = [[[[1, 5, 7], 4], [3]]]
    assert grade(sandbox, row(cases=cases, or_first=True), program)[0].base == "pass"
    assert grade(sandbox, row(cases=cases), program)[0].base == "fail"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"entry_point": "a.b"}, "has no function"),
        ({"tests": {"form": "calls", "cases": []}}, "has no tests"),
        ({"tests": {"form": "calls"}}, "lacks cases"),
    ],
)
def test_defects_of_rows(change, words):
    with pytest.raises(UserError, match=words):
        read_problems([{**row(), **change}])
