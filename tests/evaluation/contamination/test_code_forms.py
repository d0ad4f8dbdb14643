from __future__ import annotations

import pytest

from src.evaluation.contamination.code_forms import function_forms

LOOP = "def f(items, start=0):\n    total = start\n    for item in items:\n        total += item\n    return total\n"


@pytest.mark.parametrize(
    "other",
    [
        LOOP.replace("total", "acc").replace("items", "values").replace("item", "v").replace("f(", "add("),
        LOOP.replace("items,", "items: list[int],").replace("):\n", ") -> int:\n    '''Sum.'''\n", 1),
        LOOP.replace("total = start", "total: int = start  # begin"),
        LOOP.replace("    ", "  "),
        "class A:\n    x = 1\n" + "".join("    " + line + "\n" for line in LOOP.splitlines()),
    ],
)
def test_names_notes_and_layout_do_not_count(other: str) -> None:
    assert function_forms(other) == function_forms(LOOP)
    assert len(function_forms(LOOP)) == 1


@pytest.mark.parametrize(
    "other",
    [
        LOOP.replace("+=", "-="),
        LOOP.replace("start=0", "start=1"),
        LOOP.replace("return total", "return start"),
        LOOP.replace("in items", "in sorted(items)"),
        LOOP.replace("in items", "in reversed(items)"),
    ],
)
def test_meaning_counts(other: str) -> None:
    assert function_forms(other) != function_forms(LOOP)
    assert len(function_forms(other)) == 1


def test_names_from_outside_stay() -> None:
    code = "def f(a):\n    b = len(a) + sum(a) + max(a) + min(a)\n    return b * b + b\n"
    assert function_forms(code) != function_forms(code.replace("len", "abs"))


def test_inner_functions_have_forms_of_their_own() -> None:
    outer = "def g(n):\n" + "".join("    " + line + "\n" for line in LOOP.splitlines()) + "    return f(range(n))\n"
    assert len(function_forms(outer)) == 2
    assert function_forms(LOOP)[0] in function_forms(outer)


@pytest.mark.parametrize("code", ["def f(a, b):\n    return a + b\n", "print 'python 2'", "x = 1", "", "\0"])
def test_small_functions_and_what_does_not_parse_have_none(code: str) -> None:
    assert function_forms(code) == []


def test_other_peoples_invalid_escapes_are_no_trouble() -> None:
    assert len(function_forms(LOOP + "    s = '\\d'\n")) == 1
