"""What cleaning does to CodeXGLUE's rows: counts by kind, before and after.

python benchmarks/real_rows.py 'data/codexglue/python_*.jsonl*'

A row may be of several kinds. "After" counts the rows that training uses (`src.data.forms.codexglue`), without near
copies (`data.deduplicate=near`).
"""

from __future__ import annotations

import ast
import glob
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from src.data.copies import without_copies_of_others
from src.data.examples import Example, Examples, Unusable
from src.data.forms import codexglue
from src.reporting.console import print_lines, print_table
from src.utils.jsonl import read_jsonl
from src.utils.parsing import parse

CONTROL = re.compile(r"<[|\uff5c][^|\uff5c]*[|\uff5c]>")
SEPARATORS = re.compile("[\f\v\x1c\x1d\x1e\x85\u2028\u2029]")  # lines to str.splitlines, not to Python
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
ROWS, SYNTAX = "rows", "not Python 3"
KINDS = (
    ROWS, SYNTAX, "with the function's docstring", "with docstrings of inner functions or classes",
    "with a body that is only a docstring", "with a docstring beside code on its line",
    "with form feeds and other separators", "with the text of control tokens",
)  # fmt: skip


def kinds(code: str) -> Iterator[str]:
    """Yield the kinds of a row with this code."""
    yield ROWS
    tree = parse(code)
    documented = [] if tree is None else [node for node in ast.walk(tree) if _has_docstring(node)]
    tops = set(tree.body) if tree is not None else set()
    lines = code.split("\n")
    found = {
        SYNTAX: tree is None,
        KINDS[2]: any(node in tops for node in documented),
        KINDS[3]: any(node not in tops for node in documented),
        KINDS[4]: any(len(node.body) == 1 for node in documented),  # type: ignore[attr-defined]
        KINDS[5]: any(_is_beside_code(node.body[0], lines) for node in documented),  # type: ignore[attr-defined]
        KINDS[6]: SEPARATORS.search(code) is not None,
        KINDS[7]: CONTROL.search(code) is not None,
    }
    yield from (kind for kind, applies in found.items() if applies)


def cleaned(rows: list[dict[str, Any]]) -> tuple[list[str], Counter[str]]:
    """The code of the rows that training uses, and why the others are left out."""
    kept = Examples()
    for number, row in enumerate(rows):
        try:
            shaped = codexglue(row)
        except Unusable as reason:
            kept.left_out[str(reason)] += 1
            continue
        if not shaped["docstring"].strip():
            kept.left_out["without an answer"] += 1
            continue
        kept.append(Example(str(number), "codesum", shaped["code"], shaped["docstring"]))
    [unique] = without_copies_of_others([kept], 0.8)
    return [row.prompt or "" for row in unique], unique.left_out


def main(patterns: list[str]) -> None:
    """Print the table."""
    files = [Path(place) for pattern in patterns for place in sorted(glob.glob(pattern))]
    rows = [row for file in files for row in read_jsonl(file)]
    codes, left_out = cleaned(rows)
    before = Counter(kind for row in rows for kind in kinds(row["code"]))
    after = Counter(kind for code in codes for kind in kinds(code))
    print_lines([f"{len(rows):,} rows of {', '.join(file.name for file in files)}"])
    print_table("", ("kind", "before", "after"), [(kind, f"{before[kind]:,}", f"{after[kind]:,}") for kind in KINDS])
    print_table("", ("left out", "rows"), [(reason, f"{count:,}") for reason, count in left_out.most_common()])


def _has_docstring(node: ast.AST) -> bool:
    return isinstance(node, DEFINITIONS) and ast.get_docstring(node, clean=False) is not None


def _is_beside_code(docstring: ast.stmt, lines: list[str]) -> bool:
    before = lines[docstring.lineno - 1].encode()[: docstring.col_offset].strip()
    after = lines[(docstring.end_lineno or 1) - 1].encode()[docstring.end_col_offset or 0 :].strip()
    return bool(before) or (bool(after) and not after.startswith(b"#"))


if __name__ == "__main__":
    main(sys.argv[1:])
