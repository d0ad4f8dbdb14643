"""Removal of docstrings before a model is asked to write them."""

from __future__ import annotations

import ast
import re

from src.utils.parsing import parse

_TRIPLE_QUOTED = re.compile(r'""".*?"""|\'\'\'.*?\'\'\'', re.DOTALL)
_LINES = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")  # as Python counts lines: a form feed does not end one
_END_OF_LINE = re.compile(rb"[\r\n]*\Z")
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def without_docstring(code: str) -> str:
    """Remove the docstrings of a function or class, and of all functions and classes inside it.

    If the code parses as Python, exactly the docstrings go, with their lines where they stand alone; a body that was
    nothing else becomes `pass`. Other code (Python 2, other languages) loses its triple-quoted strings, as in the study
    (arXiv 2601.21115).

    Args:
        code: Source of one function.

    Returns:
        The source without them; unchanged if there are none.
    """
    tree = parse(code)
    bare = None if tree is None else _without(code, tree)
    if bare is None or parse(bare) is None:
        return _TRIPLE_QUOTED.sub("", code)
    return bare


def _without(code: str, tree: ast.Module) -> str:
    lines = _LINES.findall(code.encode())  # offsets in a syntax tree count bytes
    bodies = [
        node.body
        for node in ast.walk(tree)
        if isinstance(node, _DEFINITIONS) and ast.get_docstring(node, clean=False) is not None
    ]
    for body in sorted(bodies, key=lambda body: body[0].lineno, reverse=True):
        _cut(lines, body[0], is_whole_body=len(body) == 1)
    return b"".join(lines).decode()


def _cut(lines: list[bytes], docstring: ast.stmt, is_whole_body: bool) -> None:
    assert docstring.end_lineno is not None
    assert docstring.end_col_offset is not None
    first, last = docstring.lineno - 1, docstring.end_lineno - 1
    before, after = lines[first][: docstring.col_offset], lines[last][docstring.end_col_offset :]
    is_alone = not before.strip() and (not after.strip() or after.lstrip().startswith(b"#"))
    end = _END_OF_LINE.search(lines[last])
    assert end is not None
    if is_whole_body:
        kept = before + b"pass" + (end[0] if is_alone else after)
    else:
        kept = b"" if is_alone else before + after.lstrip(b" \t;")
    lines[first : last + 1] = [kept]
