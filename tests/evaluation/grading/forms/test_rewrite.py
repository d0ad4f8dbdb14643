# ruff: noqa: E501 (tables)
from __future__ import annotations

import pytest

from src.evaluation.grading.forms.rewrite import (
    assigned_attributes,
    defined_names,
    imported_names,
    statement_at,
    with_reports,
)


@pytest.mark.parametrize(
    ("text", "rewritten"),
    [
        ("assert f(1) == 2", "assert _tests_equal_(f(1) , 2)"),
        ("assert (f(1)) == (2), 'no'", "assert _tests_equal_((f(1)) , (2)), 'no'"),
        ("assert (f(1) ==\n    2)", "assert (_tests_equal_(f(1) ,\n    2))"),
        ("é = 'ü'; assert 'ß' == f('é')", "é = 'ü'; assert _tests_equal_('ß' , f('é'))"),
        ("if x:\n\tassert a == b; assert c == d", "if x:\n\tassert _tests_equal_(a , b); assert _tests_equal_(c , d)"),
        ("assert a == b == c", "assert a == b == c"),
        ("assert a == b and c", "assert a == b and c"),
        ("assert a != b", "assert a != b"),
        ("assert a == [x == 1 for x in y]", "assert _tests_equal_(a , [x == 1 for x in y])"),
        ("assert (a  # == 1\n    == b)", "assert (a  # == 1\n    == b)"),
    ],
)
def test_equality(text: str, rewritten: str) -> None:
    assert with_reports(text) == rewritten


def test_statement_of_a_line() -> None:
    text = "def test():\n    x = 1\n    for y in [1]:\n        assert f(\n            y) == 2\n"
    assert [statement_at(text, line) for line in (2, 4, 5, 6)] == [
        "x = 1",
        "assert f( y) == 2",
        "assert f( y) == 2",
        "",
    ]


def test_names_of_tests() -> None:
    text = "import x\nclass A: ...\ntry:\n    def test_b(): ...\nexcept E: ...\nasync def c():\n    def d(): ...\n"
    assert defined_names(text) == ["A", "test_b", "c"]


def test_names_of_modules_and_attributes() -> None:
    text = "import a.b, c as d\ndef t():\n    from e.f import g\n    from . import h\n    import solution\n    d.x.y = 1\n    z = d.w\n"
    assert imported_names(text) == ["a.b", "c", "e.f"]
    assert assigned_attributes(text) == ["y"]
