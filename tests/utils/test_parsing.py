from __future__ import annotations

import ast

from src.utils.parsing import parse


def test_python_becomes_a_tree_and_anything_else_nothing() -> None:
    assert isinstance(parse("x = 1"), ast.Module)
    assert parse("print 'python 2'") is None
    assert parse("x = \0") is None
    assert parse("(" * 10_000) is None


def test_invalid_escapes_raise_no_warning() -> None:
    assert parse("x = '\\d'") is not None
