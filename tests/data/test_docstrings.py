from __future__ import annotations

import json
from pathlib import Path

import pytest

from src.data.docstrings import without_docstring
from src.pocket.benchmarks import summary_rows
from src.pocket.sources import PocketSource

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "codexglue"


@pytest.mark.parametrize(
    ("code", "bare"),
    [
        ('def f(x):\n    """Adds."""\n    return x\n', "def f(x):\n    return x\n"),
        ('def f(x):\n    """Adds.\n\n    More.\n    """\n\n    return x', "def f(x):\n\n    return x"),
        ("def f(x):\n    'Adds.'\n    return x", "def f(x):\n    return x"),
        ('def f(x):\n    y = """kept"""\n    return y', 'def f(x):\n    y = """kept"""\n    return y'),
        ("def f(x):\n    return x", "def f(x):\n    return x"),
        ('def f(x): """Adds."""; return x', "def f(x): ; return x"),  # no line of its own: only the string goes
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


def test_pocket_rows_give_the_prompts_of_training() -> None:
    """The user turn of evaluation has the form of training's to the byte: signature and body, no final newline."""
    trained = {row.prompt for row in PocketSource("codesum").examples("validation")}
    assert all(not (prompt or "").endswith("\n") for prompt in trained)
    for row in summary_rows("validation", 20):
        bare = without_docstring(row["code"])
        assert '"""' not in bare
        assert bare.split("\n")[0] == row["code"].split("\n")[0]
        assert bare.split("\n")[1:] == row["code"].split("\n")[2:]
