"""Right programs in forms that EvalPlus's sanitizer breaks or keeps, and fenced answers: each way to sanitize."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from src.evaluation.grading.forms.problems import Problem
from src.evaluation.grading.grade import EVALPLUS, FALLBACK, NEVER, score_answers, score_programs
from src.evaluation.grading.programs import Answer
from src.evaluation.sandbox.pool import Sandbox
from tests.evaluation.sandbox.conftest import sandbox  # noqa: F401 (a fixture)

DOCUMENT = Path(__file__).parents[3] / "docs" / "programs.md"
DOUBLE = Problem("T/double", "def double(x):\n", "double", "    return 2 * x\n", [[1], [2]], [[3]])
PLAIN = "def double(x):\n    return 2 * x\n"
WRAP = "import functools\n\ndef keep(f):\n    return functools.wraps(f)(lambda x: f(x))\n\n@keep\n"
PASS, FAIL = "pass", "fail"
# name -> program, and what EvalPlus's sanitizer makes of it
FORMS = {
    "plain function": (PLAIN, PASS),
    "constant": ("TWO = 2\n\ndef double(x):\n    return TWO * x\n", PASS),
    "annotated constant": ("TWO: int = 2\n\ndef double(x):\n    return TWO * x\n", PASS),
    "helper": ("def add(a, b):\n    return a + b\n\ndef double(x):\n    return add(x, x)\n", PASS),
    "class": (
        "class Two:\n    def times(self, x):\n        return 2 * x\n\ndef double(x):\n    return Two().times(x)\n", PASS
    ),
    "star import": ("from operator import *\n\ndef double(x):\n    return mul(2, x)\n", PASS),
    "lambda": ("double = lambda x: 2 * x\n", PASS),
    "usage after it": (PLAIN + "\nprint(double(2))\n", PASS),
    "decorated function": (WRAP + PLAIN, FAIL),
    "`@dataclass` helper": (
        "from dataclasses import *\n\n@dataclass\nclass Box:\n    x: int\n\ndef double(x):\n    return Box(x + x).x\n",
        FAIL,
    ),
    "helper without `return`": (
        "def fill(xs, x):\n    xs.append(2 * x)\n\ndef double(x):\n    xs = []\n    fill(xs, x)\n    return xs[0]\n",
        FAIL,
    ),
    "generator helper": ("def twos(x):\n    yield 2 * x\n\ndef double(x):\n    return next(twos(x))\n", FAIL),
    "`A, B = 1, 2`": ("ONE, TWO = 1, 2\n\ndef double(x):\n    return TWO * x\n", FAIL),
    "augmented assignment": ("TWO = 1\nTWO += 1\n\ndef double(x):\n    return TWO * x\n", FAIL),
    "table filled by a loop": (
        "TABLE = {}\nfor n in range(9):\n    TABLE[n] = 2 * n\n\ndef double(x):\n    return TABLE[x]\n",
        FAIL,
    ),
    "function defined twice": ("def double(x):\n    return x\n\ndef double(x):\n    return 2 * x\n", FAIL),
    "import in `try`": (
        "try:\n    import operator\nexcept ImportError:\n    operator = None\n\n"
        "def double(x):\n    return operator.mul(2, x)\n",
        FAIL,
    ),
    "function in `if`": ("import sys\n\nif sys:\n    def double(x):\n        return 2 * x\n", FAIL),
    "attribute of the function": ("def double(x):\n    return double.two * x\n\ndouble.two = 2\n", FAIL),
}  # fmt: skip
# name -> answer, and what EvalPlus's sanitizer makes of it
FENCES = {
    "one block": (f"Here:\n```python\n{PLAIN}```\nDone (really).\n", PASS),
    "`~~~`": (f"Here:\n~~~python\n{PLAIN}~~~\n", PASS),
    "longer fence": (f"Here:\n````python\n{PLAIN}````\n", PASS),
    "block in a list": ("1. So:\n   ```python\n   def double(x):\n       return 2 * x\n   ```\n", FAIL),
    "on one line": ("```python def double(x): return 2 * x```\n", FAIL),
    "after text": (f"Answer: ```python\n{PLAIN}```\n", PASS),
    "block cut off": (f"Here:\n```python\n{PLAIN}", PASS),
    "usage in a second block": (f"```python\n{PLAIN}```\nUsage:\n```python\nx = int(input())\n```\n", PASS),
    "wrong block first": (
        f"```python\ndef double(x):\n    y = x\n    return x * y\n```\nNo:\n```python\n{PLAIN}```\n",
        FAIL,
    ),
    "helper in a block of its own": (
        "```python\ndef add(a, b):\n    return a + b\n```\nso\n```py\ndef double(x):\n    return add(x, x)\n```\n",
        FAIL,
    ),
    "fence in the docstring": (
        '```python\ndef double(x):\n    """Twice.\n    ```\n    double(1)\n    ```\n    """\n    return 2 * x\n```\n',
        PASS,
    ),
    "body only": ("```python\n    return 2 * x\n```\n", FAIL),
    "decorated, in a block": (f"```python\n{WRAP}{PLAIN}```\n", FAIL),
    "decorated, in prose": (f"The function:\n\n{WRAP}{PLAIN}\nExplanation\n\nIt doubles (of course).\n", FAIL),
}


def verdicts(sandbox: Sandbox, cache: Path, texts: list[str], sanitize: str) -> list[str]:  # noqa: F811
    rows = [{"task_id": DOUBLE.task_id, "solution": text} for text in texts]
    return [result.plus for result in score_programs([DOUBLE], rows, sandbox, cache, sanitize)]


@pytest.mark.parametrize("table", [FORMS, FENCES], ids=["forms", "fences"])
def test_each_way_to_sanitize(table: dict[str, tuple[str, str]], sandbox: Sandbox, tmp_path: Path) -> None:  # noqa: F811
    """`sanitize=evalplus` is EvalPlus; the default is right everywhere; both are in the documentation's table."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from evalplus.sanitize import sanitize

    texts = [text for text, _ in table.values()]
    reduced = [Answer(DOUBLE.task_id, (sanitize(text, "double"),), "") for text in texts]
    theirs = [result.plus for result in score_answers([DOUBLE], reduced, sandbox, tmp_path, NEVER).results]
    reproduced = verdicts(sandbox, tmp_path, texts, EVALPLUS)
    ours = verdicts(sandbox, tmp_path, texts, FALLBACK)
    assert dict(zip(table, theirs, strict=True)) == {name: expected for name, (_, expected) in table.items()}
    assert reproduced == theirs
    assert dict(zip(table, ours, strict=True)) == dict.fromkeys(table, PASS)
    document = DOCUMENT.read_text(encoding="utf-8")
    lines = [f"| {name} | {a} | {b} | {c} |" for name, a, b, c in zip(table, theirs, reproduced, ours, strict=True)]
    assert [line for line in lines if line not in document] == []


def test_nineteen_forms() -> None:
    assert len(FORMS) == 19


@pytest.mark.parametrize("body", ["return x", "retrun 2 * x", "import numpy_absent"])
def test_wrong_programs_stay_wrong(body: str, sandbox: Sandbox, tmp_path: Path) -> None:  # noqa: F811
    texts = [f"def double(x):\n    {body}\n", f"Here:\n```python\ndef double(x):\n    {body}\n```\n"]
    assert verdicts(sandbox, tmp_path, texts, FALLBACK) == ["fail", "fail"]


def test_what_the_compiler_refuses_is_a_program_that_does_not_run(sandbox: Sandbox, tmp_path: Path) -> None:  # noqa: F811
    texts = [f"{PLAIN}# \0\n", f"{PLAIN}y = {'(' * 300}1{')' * 300}\n"]
    assert verdicts(sandbox, tmp_path, texts, FALLBACK) == ["fail", "fail"]
