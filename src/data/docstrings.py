"""Removal of a function's docstring before a model is asked to write it."""

from __future__ import annotations

import ast
import re

from src.utils.parsing import parse

_TRIPLE_QUOTED = re.compile(r'""".*?"""|\'\'\'.*?\'\'\'', re.DOTALL)


def without_docstring(code: str) -> str:
    """Remove the docstring of a function.

    If the code parses as Python, exactly the lines of the docstring are removed. Other code (Python 2, other languages)
    loses its triple-quoted strings, as in the study (arXiv 2601.21115).

    Args:
        code: Source of one function.

    Returns:
        The source without it; unchanged if there is none.
    """
    lines = _docstring_lines(code)
    if lines is None:
        return _TRIPLE_QUOTED.sub("", code)
    first, last = lines
    return "".join(line for number, line in enumerate(code.splitlines(keepends=True), 1) if not first <= number <= last)


def _docstring_lines(code: str) -> tuple[int, int] | None:
    """First and last line (1-based) of the first function's docstring, if it is on its own lines; (0, 0) if none."""
    tree = parse(code)
    if tree is None:
        return None
    function = next((node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)), None)
    if function is None or ast.get_docstring(function) is None:
        return (0, 0)
    docstring = function.body[0]
    own_lines = code.splitlines()[docstring.lineno - 1][: docstring.col_offset].strip() == ""
    follower = next((node.lineno for node in function.body[1:2]), None)
    if not own_lines or docstring.end_lineno is None or follower == docstring.end_lineno:
        return None
    return docstring.lineno, docstring.end_lineno
