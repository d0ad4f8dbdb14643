# ruff: noqa: E501 (programs on one line each)
"""Python tests beside the program: each form, and programs that try to pass without being right."""

from __future__ import annotations

from typing import Any

import pytest

from src.evaluation.grading.forms import python_tests
from src.evaluation.grading.forms.registry import read_problems
from src.evaluation.grading.grade import score_programs
from src.evaluation.grading.results import ProgramResult
from src.evaluation.sandbox.pool import Sandbox
from src.utils.errors import UserError
from tests.evaluation.sandbox.conftest import sandbox  # noqa: F401 (a fixture)

ASSERTS = ["import math", "assert f(1) == 2", "assert f(2) == 3 and math", "assert math.isclose(f(0.5), 1.5)"]
CHECK = [
    "import math\ndef check(candidate):\n    for x in range(3):\n        assert candidate(x) == x + 1\n    assert math.isclose(candidate(0.5), 1.5)",
    "check(f)",
]
PYTEST = """import pytest
from solution import f

@pytest.fixture
def one():
    return 1

@pytest.mark.parametrize("x", [1, 2])
def test_numbers(x):
    assert f(x) == x + 1

def test_float(one):
    assert f(0.1 + one) == pytest.approx(2.1)

class TestErrors:
    def test_text(self, tmp_path, capsys):
        with pytest.raises(TypeError):
            f("1")
"""
UNITTEST = """import unittest

class TestCases(unittest.TestCase):
    def setUp(self):
        self.one = 1

    def test_numbers(self):
        for x in range(3):
            with self.subTest(x=x):
                self.assertEqual(f(x), x + self.one)

    def test_float(self):
        import math
        self.assertTrue(math.isclose(f(0.5), 1.5))

    def test_text(self):
        with self.assertRaises(TypeError):
            f("1")
"""
FORMS = {"asserts": ("statements", ASSERTS), "check": ("statements", CHECK), "pytest": ("pytest", [PYTEST]),
         "unittest": ("unittest", [UNITTEST])}  # fmt: skip
Results = tuple[dict[tuple[str, str], ProgramResult], str]
RIGHT = "def f(x):\n    return x + 1\n"


def row(kind: str, code: list[str], name: str = "T/0", **changes: Any) -> dict[str, Any]:
    tests = {"form": "python", "kind": kind, "code": code}
    solution = {"prompt": "", "entry_point": "f", "canonical_solution": RIGHT}
    return {"task_id": name, **solution, "tests": tests, **changes}


WRONG = "def f(x):\n    return x + 1 if x != 2 else [x]\n"
OTHERS = {"loops": "def f(x):\n    while True: ...\n", "does not load": "import nothing\n", "no program": "I cannot"}
HONEST = """import builtins, sys, functools
from dataclasses import dataclass
sys.setrecursionlimit(5000)
_print, builtins.print = print, lambda *a: None
@dataclass
class Pair:
    a: int
@functools.total_ordering
class Money:
    def __init__(self, n): self.n = n
    def __eq__(self, other): return self.n == (other.n if isinstance(other, Money) else other)
    def __lt__(self, other): return self.n < other.n
"""
HONEST_TESTS = [
    "assert Money(5) == 5 == Money(5)", "assert Money(5) == 5", "assert [Money(1)] == [Money(1)]",
    "assert Pair(1) == Pair(1)", "from unittest.mock import ANY, Mock\nassert {'a': ANY} == {'a': 1}",
    "import math\nmath.tau = 6", "import json\njson.loads = None", "import numpy as np\nassert (np.arange(3) == np.array([0, 1, 2])).all()", "assert Mock() == ANY",
]  # fmt: skip
CHEATS = {
    "exits": "import os\ndef f(x):\n    os._exit(0)\n",
    "exits while it loads": "import sys\ndef f(x): ...\nsys.exit(0)\n",
    "raises SystemExit": "def f(x):\n    raise SystemExit(0)\n",
    "raises KeyboardInterrupt": "def f(x):\n    raise KeyboardInterrupt\n",
    "skips": "import unittest\ndef f(x):\n    raise unittest.SkipTest('no')\n",
    "skips by pytest": "import pytest\ndef f(x):\n    pytest.skip('no')\n",
    "expects to fail": "import pytest\ndef f(x):\n    pytest.xfail('no')\n",
    "leaves pytest": "import pytest\ndef f(x):\n    pytest.exit('no', 0)\n",
    "equals everything": "class A:\n    def __eq__(self, other): return True\n    __add__ = __eq__\n"
    "    def __float__(self): return 1.5\ndef f(x):\n    if isinstance(x, str): raise TypeError\n    return A()\n",
    "equals everything in a list": "class A(int):\n    __eq__ = lambda self, other: True\n"
    "class B(list):\n    __eq__ = lambda self, other: True\ndef f(x):\n    if isinstance(x, str): raise TypeError\n    return B([A()])\n",
    "mock.ANY": "from unittest.mock import ANY\ndef f(x):\n    if isinstance(x, str): raise TypeError\n    return ANY\n",
    "replaces isinstance": "import builtins\nbuiltins.isinstance = lambda *a: True\n" + RIGHT,
    "replaces assertEqual": "import unittest\nunittest.TestCase.assertEqual = lambda *a: None\n"
    "def f(x):\n    if isinstance(x, str): raise TypeError\n",
    "replaces the comparison": "def f(x):\n    import builtins\n    builtins._tests_equal_ = lambda *a: True\n",
    "replaces it for a while": "import math\nmath.isclose = lambda *a: True\nglobals()['_tests_equal_'] = lambda *a: True\n"
    "def f(x):\n    if isinstance(x, str): raise TypeError\n    return 5\n",
    "replaces a library": "import math\nmath.isclose = lambda *a: True\ndef f(x):\n    if isinstance(x, str): raise TypeError\n    return {1: 2, 2: 3, 0: 1}.get(x, 5)\n",
    "replaces a library when called": "def f(x):\n    import math\n    math.isclose = lambda *a: True\n    if isinstance(x, str): raise TypeError\n    return {1: 2, 2: 3, 0: 1}.get(x, 5)\n",
    "replaces pytest": "import sys, types\nsys.modules['pytest'] = types.ModuleType('pytest')\n" + RIGHT,
    "replaces run": "import unittest, pytest, sys\nunittest.TestSuite.run = lambda *a, **k: None\npytest.main = lambda *a, **k: 0\n"
    "def f(x): ...\n",
    "a conftest": "open('conftest.py', 'w').write('def pytest_runtest_call(item): item.obj = lambda **k: None')\n"
    "import os\nos.environ['PYTEST_ADDOPTS'] = '--collect-only'\ndef f(x): ...\n",
    "brings tests": "import unittest\ndef test_it(): ...\nclass TestCases(unittest.TestCase):\n    def test(self): ...\n"
    "def check(f): ...\ndef f(x): ...\n",
    "traces": "import sys\ndef t(frame, event, arg):\n    if event == 'line' and 'assert' in str(frame.f_code.co_names):\n"
    "        frame.f_lineno += 1\n    return t\nsys.settrace(t)\ndef f(x): ...\n",
    "forges a report when called": "import os, struct, marshal\ndef f(x):\n    import os\n"
    "    body = marshal.dumps({'passed': 1, 'failure': None}, 2)\n"
    "    os.write(3, struct.pack('<cIdQ', b'P', 0, 0.0, len(body)) + body)\n    os._exit(0)\n",
    "two reports": "import os, struct, marshal\nbody = marshal.dumps({'passed': 1, 'failure': None}, 2)\n"
    "os.write(3, (struct.pack('<cIdQ', b'P', 0, 0.0, len(body)) + body) * 2)\n" + RIGHT,
}  # fmt: skip


@pytest.fixture(scope="module")
def results(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Results:  # noqa: F811
    """Results of all programs on all forms by (form, program), and what was said about reference solutions."""
    programs = {"right": RIGHT, "wrong": WRONG, **OTHERS, **CHEATS}
    rows = [row(*form, name=name) for name, form in FORMS.items()]
    rows.append(row("statements", HONEST_TESTS, "honest", entry_point="", canonical_solution=HONEST))
    rows.append(row(*FORMS["check"], "bad reference", canonical_solution="def f(x): return 0"))
    cheated = {"check", "pytest", "unittest"}  # assertions run as `check` does
    runs = [(name, text) for name in FORMS for text in ("right", "wrong", *(CHEATS if name in cheated else ()))]
    runs += [("check", name) for name in OTHERS]
    programs |= {"honest": HONEST}
    runs += [("honest", "honest"), ("bad reference", "right")]
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(python_tests, "say", said.append)
        samples = [{"task_id": name, "solution": programs[text]} for name, text in runs]
        found = score_programs(read_problems(rows), samples, sandbox, tmp_path_factory.mktemp("cache"))
    return dict(zip(runs, found, strict=True)), "".join(said)


def test_each_form(results: Results) -> None:
    assert {name: (results[0][name, "right"].plus, results[0][name, "wrong"].plus) for name in FORMS} == dict.fromkeys(
        FORMS, ("pass", "fail")
    )
    assert {name: results[0][name, "wrong"].detail for name in FORMS} == {
        "asserts": "assert f(2) == 3 and math",
        "check": "assert candidate(x) == x + 1; got [2]",
        "pytest": "test_numbers[2]: assert f(x) == x + 1; got [2]",
        "unittest": "test_numbers (solution.TestCases.test_numbers) (x=2): self.assertEqual(f(x), x + self.one); "
        "AssertionError: [2] != 3",
    }
    failure = results[0]["pytest", "wrong"].failure
    assert (failure.input, failure.expected, failure.got) == ("test_numbers[2]: assert f(x) == x + 1", "3", "[2]")


def test_no_cheat_passes(results: Results) -> None:
    assert [key for key, result in results[0].items() if key[1] in CHEATS and result.plus == "pass"] == []


def test_honest_programs_are_not_suspected(results: Results) -> None:
    result = results[0]["honest", "honest"]
    assert (result.plus, result.detail) == ("pass", "")


def test_time_limits_and_programs_that_do_not_load(results: Results) -> None:
    found = [results[0]["check", name] for name in OTHERS]
    assert [result.plus for result in found] == ["timeout", "fail", "fail"]
    details = ("tests: cpu limit", "ModuleNotFoundError: No module named 'nothing'", "SyntaxError: invalid syntax")
    assert all(result.detail.startswith(words) for result, words in zip(found, details, strict=True))


def test_a_reference_that_fails_is_reported(results: Results) -> None:
    assert results[0]["bad reference", "right"].plus == "pass"
    assert results[1].startswith(
        "reference solutions of 1 of 6 problems fail their own tests: bad reference (fail: assert candidate(x) == x + 1"
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"task_id": "T/1"}, r"row 2 \(T/1\) repeats a task_id"),
        ({"tests": {"form": "python", "kind": "nose", "code": ["x"]}}, "tests of kind 'nose', expected one of statements"),
        ({"tests": {"form": "python", "kind": "pytest", "code": ["x", "y"]}}, "2 texts of tests, expected one"),
        ({"tests": {"form": "python", "kind": "pytest", "code": ["def"]}}, "tests that are no Python text"),
        ({"tests": {"form": "tea leaves"}}, "unknown form of tests 'tea leaves'"),
    ],
    ids=str,
)  # fmt: skip
def test_rows_that_cannot_be_used(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        read_problems([row(*FORMS["check"], name="T/1"), row(*FORMS["check"]) | change])
