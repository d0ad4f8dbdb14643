from __future__ import annotations

import time
import warnings
from pathlib import Path

import pytest

from src.evaluation.grading.forms.problems import Problem
from src.evaluation.grading.grade import score_programs
from src.evaluation.grading.sanitize import longest_valid_stretch, needed_parts, runnable_part, sanitize
from src.evaluation.grading.sanitize_in_sandbox import sanitize_in_sandbox
from src.evaluation.sandbox.pool import Sandbox
from tests.evaluation.sandbox.conftest import sandbox  # noqa: F401 (a fixture)

CHAT = '''Here is the function:

```python
import math
from typing import List

LIMIT = 10
other = 5

def helper(x):
    return min(x, LIMIT)

def unused(x):
    return x

def says(x):
    print(x)

class Box:
    pass

def f(xs: List[int]):
    """Doc."""
    says(xs)
    return [helper(x) for x in xs]
```

It applies `helper`.
'''
CLEAN = '''import math
from typing import List
LIMIT = 10
def helper(x):
    return min(x, LIMIT)
def f(xs: List[int]):
    """Doc."""
    says(xs)
    return [helper(x) for x in xs]'''

TEXTS = [
    CHAT, CLEAN, "", "x", "x = (", "no code at all, only\nprose (of a kind\n",
    "x = 1\n\n\ny = 2\n\n\n", "\n\nx = 1\n\n",
    "def f(): return 1\ndef f(): return 2", "a, b = 1, 2\ndef f():\n    return a", "x.y = z\ndef f():\n    return z",
    "@cache\ndef f():\n    return 1\n", "async def f():\n    return 1\n", "if True:\n    def f():\n        return 1\n",
    "from __future__ import annotations\nimport a; import b\ndef f():\n    return a\n", "def f():\n    pass\n",
    "```python\ndef f():\n    return 1\n", "lambda\ndef f():\n    return 1\n)\nclass A: pass\nclass A(int): pass\n",
    "x: int = 1\nx += 1\ndef f():\n    return x\n", "def f():\n    return '''\n\n'''\n\n\ntext (",
    "ünïcode = 1\ndef f():\n    return ünïcode",
]  # fmt: skip


def test_chat_answer() -> None:
    assert sanitize(CHAT, "f") == CLEAN


def test_stretches() -> None:
    assert longest_valid_stretch("no (\nx = 1\ny = 2\nno (\nz = 3\n") == "x = 1\ny = 2"
    assert longest_valid_stretch("(\nx = 1\n\n\ny = 2\n\n(") == "x = 1\n\n\ny = 2"
    assert longest_valid_stretch("only (") == "only ("
    assert needed_parts("def g():\n    return 1\ndef f():\n    return h()\n", "f") == "def f():\n    return h()"


@pytest.mark.parametrize("text", TEXTS)
def test_equals_evalplus(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from evalplus.sanitize import sanitize as reference

    for entry_point in ("f", "g", "missing"):
        assert sanitize(text, entry_point) == reference(text, entry_point)
    assert sanitize(text, "") == reference(text)


def test_code_with_prose_around_it_is_quick() -> None:
    """Ten lines of talk around 200 of code, of which EvalPlus parses some 24,000 stretches."""
    code = "\n".join(f"x{n} = {n}" for n in range(200))
    talk = "\n".join(["So here we are: the code"] * 10)
    started = time.process_time()
    assert longest_valid_stretch(f"{talk}\n{code}\n{talk}") == code
    assert time.process_time() - started < 2


def test_in_the_sandbox(sandbox: Sandbox) -> None:  # noqa: F811
    texts = [(text, "f") for text in TEXTS]
    assert sanitize_in_sandbox(texts, sandbox) == [sanitize(text, "f") for text in TEXTS]
    assert sanitize_in_sandbox([], sandbox) == []


def test_what_breaks_the_sanitizer_stays_as_it_is(sandbox: Sandbox) -> None:  # noqa: F811
    odd = "x = '\udc80'"  # no UTF-8
    assert sanitize_in_sandbox([(CHAT, "f"), (odd, "f"), (CHAT, "f")], sandbox) == [CLEAN, odd, CLEAN]


def test_scoring_sanitized_answers(sandbox: Sandbox, tmp_path: Path) -> None:  # noqa: F811
    problem = Problem("T/0", "def f(xs):\n", "f", "    return [min(x, 10) for x in xs]\n", [[[1, 20]]], [[[]]])
    chat = CHAT.replace("    says(xs)\n", "") + "\n```python\nraise SystemExit('usage')\n```\n"
    code = CLEAN.replace("    says(xs)\n", "") + "\nraise SystemExit('usage')\n"
    rows = [{"task_id": "T/0", "solution": text} for text in (chat, code)]
    choices = {"fallback": ["pass", "fail"], "evalplus": ["pass", "pass"], "never": ["pass", "fail"]}
    for chosen, expected in choices.items():
        verdicts = score_programs([problem], rows, sandbox, tmp_path, sanitize=chosen)
        assert [verdict.plus for verdict in verdicts] == expected


def test_a_runnable_part_keeps_what_a_program_needs_and_drops_prose() -> None:
    needed = "import functools\n\nA, B = 1, 2\nT = []\nfor n in range(3):\n    T.append(n)\n"
    code = needed + "\n@functools.cache\ndef f(x):\n    return T[x] + A\n\nf(1)\n"
    assert runnable_part(f"Sure (here:\n\n{code}\nExplanation\n\nIt adds (see above.", "f").split() == code.split()
    assert runnable_part("x\ndef f(): return 1; y\n'note'", "f") == "def f(): return 1; y"
    assert runnable_part("No code (at\nall", "f") == sanitize("No code (at\nall", "f")
    assert runnable_part("a = 1\nb = 2\nWell (then", "f") == sanitize("a = 1\nb = 2\nWell (then", "f")
