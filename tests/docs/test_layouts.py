"""docs/merging.md, "Layouts of parents": every row names its tests and the words that they expect."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "merging.md"
CODE = re.compile(r"`([^`]+)`")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


@dataclass(frozen=True)
class Row:
    """A layout, what happens to it, and the tests of it as (file, function)."""

    layout: str
    happens: str
    tests: tuple[tuple[str, str], ...]


def rows() -> list[Row]:
    section = PAGE.read_text(encoding="utf-8").partition("\n## Layouts of parents\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][1:]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [Row(layout, happens, tuple(TEST.findall(tests))) for layout, happens, tests in cells]


@cache
def functions(file: str) -> dict[str, ast.FunctionDef]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def expected_words(file: str, name: str) -> str:
    """All strings of a test and its parameters but the docstring, a line each; patterns without their escapes."""
    node = functions(file)[name]
    body = node.body[1:] if ast.get_docstring(node) else node.body
    parts = [part for top in (*node.decorator_list, *body) for part in ast.walk(top)]
    strings = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    return "\n".join(string.replace("\\", "") for string in strings)


def test_the_table_is_read() -> None:
    found = rows()
    assert len(found) > 40
    assert sum(row.happens.startswith("refused") for row in found) > 15


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.layout)
def test_a_row_names_its_tests_and_their_words(row: Row) -> None:
    outcome, _, rest = row.happens.partition(": ")
    assert outcome in ("merged", "refused")
    assert row.tests, "a row names its test as `tests/...::name`"
    assert [test for test in row.tests if test[1] not in functions(test[0])] == []
    if outcome == "refused":
        words = CODE.findall(rest)
        expected = "\n".join(expected_words(*test) for test in row.tests)
        assert words, "a row that is refused has words of the message in backquotes"
        assert [word for word in words if word not in expected] == []
