from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from src.data.docstrings import without_docstring
from src.pocket.benchmarks import summary_rows
from src.pocket.sources import PocketSource
from src.utils.jsonl import iterate_jsonl
from src.utils.parsing import parse

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "codexglue"


@pytest.mark.parametrize(
    ("code", "bare"),
    [
        ('def f(x):\n    """Adds."""\n    return x\n', "def f(x):\n    return x\n"),
        ('def f(x):\n    """Adds.\n\n    More.\n    """\n\n    return x', "def f(x):\n\n    return x"),
        ("def f(x):\n    'Adds.'\n    return x", "def f(x):\n    return x"),
        ('def f(x):\n    y = """kept"""\n    return y', 'def f(x):\n    y = """kept"""\n    return y'),
        ("def f(x):\n    return x", "def f(x):\n    return x"),
        ('def f(x): """Adds."""; return x', "def f(x): return x"),
        ('def f(x):\n    """Adds."""; return x\n', "def f(x):\n    return x\n"),
        ('def f(x): """Adds."""', "def f(x): pass"),
        ('def f(x):\n    """Adds."""\n', "def f(x):\n    pass\n"),
        ('def f(x):\n    """Adds."""  # noqa\n    return x', "def f(x):\n    return x"),
        ('def f(x):\n    """Adds.\f\n    \x1cMore.\n    """\n    return x', "def f(x):\n    return x"),
        ('def f(x):\r\n    """Adds."""\r\n    return x\r\n', "def f(x):\r\n    return x\r\n"),
        ('def f(x):\n    "é" """Adds."""; return "é"', 'def f(x):\n    return "é"'),
        (
            'class A:\n    """Adds."""\n\n    def f(self):\n        """Too."""\n        return 1',
            "class A:\n\n    def f(self):\n        return 1",
        ),
        (
            'def f():\n    """Adds."""\n    def g():\n        """Inner."""\n    return g',
            "def f():\n    def g():\n        pass\n    return g",
        ),
        ('def f(x):\n    """Adds."""\n    print "python 2"', 'def f(x):\n    \n    print "python 2"'),
        ("int f() { return 1; }", "int f() { return 1; }"),
    ],
)
def test_only_the_docstring_goes(code: str, bare: str) -> None:
    assert without_docstring(code) == bare


def test_no_docstring_is_left_in_real_functions() -> None:
    path = SHARED / "python_valid_first120.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"CodeXGLUE rows are not at {path}")
    import gzip

    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    for row in rows:
        bare = without_docstring(row["code"])
        first_line = row["docstring"].strip().split("\n")[0]
        assert '"""' + first_line not in bare
        assert row["func_name"].rpartition(".")[2] in bare


@pytest.mark.parametrize(
    "name",
    [
        "python_valid_first120",
        pytest.param("python_test_sample1000", marks=pytest.mark.slow),
        pytest.param("python_test_extra", marks=pytest.mark.slow),
    ],
)
def test_real_functions_lose_their_docstrings_and_nothing_else(name: str) -> None:
    path = SHARED / f"{name}.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"CodeXGLUE rows are not at {path}")
    parsed = 0
    for row in iterate_jsonl(path):
        before, after = parse(row["code"]), parse(without_docstring(row["code"]))
        if before is not None:
            assert after is not None, row["url"]
            assert ast.dump(after) == ast.dump(_NoDocstrings().visit(before)), row["url"]
            parsed += 1
    assert parsed > 90


class _NoDocstrings(ast.NodeTransformer):
    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        documented = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        return node


def test_pocket_rows_give_the_prompts_of_training() -> None:
    """The user turn of evaluation has the form of training's to the byte: signature and body, no final newline."""
    trained = {row.prompt for row in PocketSource("codesum").examples("validation")}
    assert all(not (prompt or "").endswith("\n") for prompt in trained)
    for row in summary_rows("validation", 20):
        bare = without_docstring(row["code"])
        assert '"""' not in bare
        assert bare.split("\n")[0] == row["code"].split("\n")[0]
        assert bare.split("\n")[1:] == row["code"].split("\n")[2:]
