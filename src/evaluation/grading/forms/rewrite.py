"""Rewrite tests, so that their comparisons report both sides.

Only text inside lines changes: a line number of the rewritten tests is one of the original.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from src.evaluation.sandbox.guest.tests import EQUAL
from src.utils.parsing import parse


def with_reports(text: str) -> str:
    """Replace `assert a == b` by `assert _tests_equal_(a, b)`."""
    edits = _Edits(text)
    for node in ast.walk(_parsed(text)):
        if not isinstance(node, ast.Assert):
            continue
        compare = node.test
        if isinstance(compare, ast.Compare) and len(compare.ops) == 1 and isinstance(compare.ops[0], ast.Eq):
            left, right = compare.left, compare.comparators[0]
            start, end = edits.end(left), edits.start(right)
            between = edits.data[start:end]
            if between.count(b"==") == 1 and b"#" not in between:
                at = start + between.index(b"==")
                edits.replace(edits.start(compare), 0, f"{EQUAL}(")
                edits.replace(at, 2, ",")
                edits.replace(edits.end(compare), 0, ")")
    return edits.text()


def statement_at(text: str, line: int) -> str:
    """Return the smallest statement on a line, in one line; empty: there is none."""
    found = [node for node in ast.walk(_parsed(text)) if isinstance(node, ast.stmt) and _spans(node, line)]
    if not found:
        return ""
    smallest = min(found, key=lambda node: (node.end_lineno or 0) - node.lineno)
    return " ".join((ast.get_source_segment(text, smallest) or "").split())


def defined_names(text: str) -> list[str]:
    """List the functions and classes that tests define at their top level."""
    return [node.name for node in _top_level(_parsed(text).body)]


def imported_names(text: str) -> list[str]:
    """List the modules that tests import, as dotted names."""
    nodes = list(ast.walk(_parsed(text)))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) if node.module and not node.level}
    return sorted(names - {"solution"})


def assigned_attributes(text: str) -> list[str]:
    """List the names of attributes that tests assign."""
    nodes = ast.walk(_parsed(text))
    return sorted({node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)})


def _top_level(body: list[ast.stmt]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node
        elif isinstance(node, ast.If | ast.Try | ast.With):
            yield from _top_level(node.body)


def _spans(node: ast.stmt, line: int) -> bool:
    return node.lineno <= line <= (node.end_lineno or node.lineno)


def _parsed(text: str) -> ast.Module:
    tree = parse(text)
    assert tree is not None, "tests are checked when their problem is read"
    return tree


class _Edits:
    """Replacements in a text, by byte positions (as `ast` counts columns)."""

    def __init__(self, text: str) -> None:
        self.data = text.encode()
        self.starts = [0]
        for line in self.data.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))
        self.edits: list[tuple[int, int, bytes]] = []

    def start(self, node: ast.AST) -> int:
        return self.starts[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]

    def end(self, node: ast.AST) -> int:
        return self.starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]

    def replace(self, at: int, size: int, text: str) -> None:
        self.edits.append((at, size, text.encode()))

    def text(self) -> str:
        data = self.data
        for at, size, new in sorted(self.edits, key=lambda edit: edit[0], reverse=True):
            data = data[:at] + new + data[at + size :]
        return data.decode()
