"""Verdicts on hand-made problems; real benchmarks are in test_published.py."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from src.evaluation.grading.forms import input_lists
from src.evaluation.grading.forms.expected_outputs import expected_outputs
from src.evaluation.grading.forms.problems import Problem
from src.evaluation.grading.forms.result import Failure, SuiteResult
from src.evaluation.grading.grade import NEVER, score_answers, score_programs
from src.evaluation.grading.programs import answer_of_row
from src.evaluation.grading.recheck import Recheck
from src.evaluation.grading.results import ProgramResult, flaky_tasks
from src.evaluation.sandbox.pool import Sandbox
from src.evaluation.sandbox.worker import Worker, WorkerDied
from src.utils.errors import UserError
from tests.evaluation.sandbox.conftest import sandbox  # noqa: F401 (a fixture)

ADD = Problem("T/add", "def add(a, b):\n", "add", "    return a + b\n", [[1, 2], [3, 4]], [[5, -6], [0.5, 1]])
THIRD = Problem("T/third", "def third(x):\n", "third", "    return x / 3\n", [[1]], [[x] for x in range(30)])
BIG = Problem(
    "T/big", "def big(n):\n", "big", "    return [i / 7 for i in range(n)]\n", [[2]], [[100_000], [3], [100_000]]
)


@pytest.fixture
def verdict(sandbox: Sandbox, tmp_path: Path) -> Any:  # noqa: F811
    """Scores one program."""

    def score(problem: Problem, **sample: str) -> ProgramResult:
        [result] = score_programs([problem], [{"task_id": problem.task_id, **sample}], sandbox, tmp_path)
        return result

    return score


@pytest.mark.parametrize(
    ("completion", "base", "plus"),
    [
        ("    return a + b\n", "pass", "pass"),
        ("    return b + a\n", "pass", "pass"),
        ("    return abs(a) + abs(b)\n", "pass", "fail"),
        ("    return a - b\n", "fail", "fail"),
        ("    return str(a + b)\n", "fail", "fail"),
        ("    return\n", "fail", "fail"),
        ("    raise ValueError('no')\n", "fail", "fail"),
        ("    return (\n", "fail", "fail"),
        ("", "fail", "fail"),
        ("    while True: pass\n", "timeout", "timeout"),
        ("    while b < 0: pass\n    return a + b\n", "pass", "timeout"),
        ("    from fractions import Fraction\n    return Fraction(a) + Fraction(b)\n", "pass", "pass"),
        ("    import numpy as np\n    return np.add(a, b)\n", "pass", "pass"),
        ("    class Odd(int): pass\n    return Odd(a + b) if isinstance(a, int) else a + b\n", "pass", "pass"),
        ("    return a + b\n\nif __name__ == '__main__':\n    raise SystemExit\n", "pass", "pass"),
        ("    print('noise')\n    return a + b\n\nprint(add(1, 1))\n", "pass", "pass"),
    ],
)
def test_statuses(verdict: Any, completion: str, base: str, plus: str) -> None:
    result = verdict(ADD, completion=completion)
    assert (result.base, result.plus) == (base, plus)
    assert bool(result.detail) is (plus != "pass")
    assert not result.flaky


def test_details_say_why(verdict: Any) -> None:
    assert verdict(ADD, completion="    return a - b\n").detail == "base: input 0: wrong output"
    assert verdict(ADD, completion="    return abs(a) + abs(b)\n").detail == "plus: input 0: wrong output"
    assert verdict(ADD, completion="    return c\n").detail == "base: input 0: NameError: name 'c' is not defined"
    assert verdict(ADD, completion="    return (\n").detail.startswith("base: SyntaxError: '(' was never closed")
    assert verdict(ADD, solution="x = 1\n").detail == "base: KeyError: 'add'"
    assert verdict(ADD, completion="    while True: pass\n").detail == "base: input 0: cpu limit"
    assert verdict(ADD, completion="    import os; os._exit(3)\n").detail == (
        "base: input 0: the program's process ended (wait status 768)"
    )


def test_the_failed_test_is_recorded_but_is_no_part_of_the_verdict(verdict: Any) -> None:
    wrong = verdict(ADD, completion="    return a - b\n")
    assert wrong.failure == Failure("[1, 2]", "3", "-1")
    assert "failure" not in wrong.row()
    assert verdict(ADD, completion="    return abs(a) + abs(b)\n").failure == Failure("[5, -6]", "-1", "11")
    raised = verdict(ADD, completion="    return c\n").failure
    assert (raised.input, raised.expected) == ("[1, 2]", "3")
    assert "NameError" in raised.got
    huge = verdict(ADD, completion="    return 10 ** 6000\n").failure  # more digits than Python prints
    assert (huge.expected, huge.got) == ("3", "(a value too large to show)")
    for completion in ("    return a + b\n", "    return (\n"):  # passes; fails before the first test
        assert verdict(ADD, completion=completion).failure == Failure()


@pytest.mark.parametrize(
    "sample",
    [
        {"solution": "def add(a, b):\n    return a + b\n"},
        {"completion": "def add(a, b):\n    return a + b\n"},
        {"completion": "```python\ndef add(a, b):\n    return a + b\n```\n"},
        {"completion": "Sure:\n```python\ndef add(a, b):\n    return a + b\n```\nThis adds.\n"},
        {"solution": "Sure:\n```\ndef add(a, b):\n    return a + b\n```\n"},
        {"completion": "```python\n    return a + b\n"},
    ],
    ids=str,
)
def test_forms_of_an_answer(verdict: Any, sample: dict[str, str]) -> None:
    assert verdict(ADD, **sample).plus == "pass"


def test_floats_are_compared_with_tolerance(verdict: Any) -> None:
    assert verdict(THIRD, completion="    return x * (1 / 3)\n").plus == "pass"
    assert verdict(THIRD, completion="    return round(x / 3, 3)\n").base == "fail"


@pytest.mark.parametrize(
    ("completion", "plus"),
    [
        ("    return [i / 7 for i in range(n)]\n", "pass"),  # equal by digest
        ("    return [i * (1 / 7) for i in range(n)]\n", "pass"),  # sent again in full, equal within tolerance
        ("    return [i / 7 for i in range(n - 1)] + [0.0] if n > 3 else [i / 7 for i in range(n)]\n", "fail"),
        ("    return tuple(i / 7 for i in range(n)) if n > 3 else [i / 7 for i in range(n)]\n", "fail"),
    ],
)
def test_large_outputs(verdict: Any, completion: str, plus: str) -> None:
    result = verdict(BIG, completion=completion)
    assert (result.base, result.plus) == ("pass", plus)


def test_state_lasts_within_a_suite_and_no_longer(verdict: Any) -> None:
    """As in EvalPlus: one namespace for all inputs of a suite, a new process for the next suite."""
    counting = "    global n\n    n += 1\n    return a + b if n <= 2 else None\n\nn = 0\n"
    assert (verdict(ADD, completion=counting).base, verdict(ADD, completion=counting).plus) == ("pass", "pass")
    assert verdict(ADD, completion=counting.replace("<= 2", "<= 1")).base == "fail"


def test_order_samples_and_equal_answers(sandbox: Sandbox, tmp_path: Path) -> None:  # noqa: F811
    texts = ["    return a + b\n", "    return a\n", "    return a + b\n"]
    rows = [{"task_id": "T/add", "completion": text} for text in texts]
    rows.insert(1, {"task_id": "T/third", "completion": "    return x / 3\n"})
    verdicts = score_programs([THIRD, ADD], rows, sandbox, tmp_path)
    assert [(v.task_id, v.sample, v.plus) for v in verdicts] == [
        ("T/add", 0, "pass"), ("T/third", 0, "pass"), ("T/add", 1, "fail"), ("T/add", 2, "pass")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ({"task_id": "T/none", "completion": ""}, "sample 1 is for 'T/none', which the benchmark"),
        ({"task_id": "T/add"}, r"sample 1 \(T/add\) has neither `solution` nor `completion` text"),
        ({"task_id": "T/add", "completion": None}, "neither"),
        ({"completion": ""}, "sample 1 is for None"),
    ],
)
def test_samples_that_do_not_fit(sample: dict[str, Any], message: str, sandbox: Sandbox) -> None:  # noqa: F811
    with pytest.raises(UserError, match=message):
        score_programs([ADD], [sample], sandbox)


# --- order-free problems: EvalPlus and MBPP's own assert compare `set(output)`, whatever can be iterated over ---------
COMMON = Problem(
    "Mbpp/2", "", "similar_elements", "def similar_elements(a, b):\n    return tuple(set(a) & set(b))\n",
    [[(3, 4, 5, 6), (5, 7, 4, 10)]], [[(1, 2), (2,)]],
)  # fmt: skip


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return filter(lambda x: x in b, a)", "pass"),
        ("return map(int, set(a) & set(b))", "pass"),
        ("yield from set(a) & set(b)", "pass"),
        ("return iter(set(a) & set(b))", "pass"),
        ("return (x for x in a if x in b)", "pass"),
        ("return dict.fromkeys(x for x in a if x in b).keys()", "pass"),
        ("return {x: x for x in a if x in b}.values()", "pass"),
        ("return reversed([x for x in a if x in b])", "pass"),
        ("return type('Own', (), {'__iter__': lambda self: iter(set(a) & set(b))})()", "pass"),
        ("return filter(lambda x: x not in b, a)", "fail"),
        ("yield 4", "fail"),
        ("return ([x] for x in a if x in b)", "fail"),
        ("yield from set(a) & set(b)\n    raise ValueError", "fail"),
        ("return object()", "fail"),
        ("while True: yield 4", "timeout"),
    ],
)
def test_iterators_where_the_order_is_free(verdict: Any, body: str, expected: str) -> None:
    assert verdict(COMMON, solution=f"def similar_elements(a, b):\n    {body}\n").base == expected


def test_iterators_are_equal_to_nothing_elsewhere(verdict: Any) -> None:
    pair = Problem("Mbpp/0", "", "f", "def f(x):\n    return [x]\n", [[1]], [])
    assert verdict(pair, solution="def f(x):\n    yield x\n").base == "fail"


@pytest.mark.parametrize("name", ["perf_counter", "process_time", "time"])
def test_a_program_may_replace_clocks(verdict: Any, name: str) -> None:
    assert verdict(ADD, completion=f"    return a + b\nimport time\ntime.{name} = lambda: None\n").plus == "pass"


# --- time -------------------------------------------------------------------------------------------------------------
def test_limits_follow_the_reference_solution(tmp_path: Path) -> None:
    """A slow reference allows a slow answer: 4 x its CPU time, at least `min_time_limit`."""
    spin = (
        "    import time\n    end = time.process_time() + x\n    while time.process_time() < end: pass\n    return 1\n"
    )
    slow = Problem("T/slow", "def f(x):\n", "f", spin, [[0.1]], [])
    rows = [
        {"task_id": "T/slow", "completion": spin.replace("+ x", "+ 2 * x")},
        {"task_id": "T/slow", "completion": spin.replace("+ x", "+ 8 * x")},
    ]
    with Sandbox(workers=1, min_time_limit=0.05) as own:
        verdicts = score_programs([slow], rows, own, tmp_path)
    assert [v.base for v in verdicts] == ["pass", "timeout"]


@pytest.mark.parametrize("status", ["timeout", "fail"])
def test_late_or_killed_only_among_others_is_flaky(
    status: str,
    sandbox: Sandbox,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A program that runs out of time is run again alone; that verdict counts, and the task is listed."""
    real, attempts = input_lists.run_suite, []

    def late_at_first(*rest: Any) -> SuiteResult:
        attempts.append(rest)
        return SuiteResult(status, "input 0", doubtful=True) if len(attempts) == 1 else real(*rest)

    monkeypatch.setattr(input_lists, "run_suite", late_at_first)
    rows = [{"task_id": "T/add", "completion": "    return a + b\n"}]
    [result] = score_programs([ADD], rows, sandbox, tmp_path)
    assert (result.base, result.plus, result.flaky) == ("pass", "pass", True)
    assert flaky_tasks([result]) == ["T/add"]
    assert flaky_tasks([dataclasses.replace(result, flaky=False)]) == []


# --- programs whose verdict changes from run to run -------------------------------------------------------------------
FLAKY = {  # the 30 programs of each kind look at one bit each: all the same twice happens once in a billion times
    "random": "import random\n\ndef add(a, b):\n    return a + b + (random.getrandbits(30) >> {n} & 1)\n",
    "numpy": "import numpy\n\ndef add(a, b):\n    return a + b + (int(numpy.random.randint(1 << 30)) >> {n} & 1)\n",
    "time": "import time\n\ndef add(a, b):\n    return a + b + (hash(time.time_ns()) >> {n} & 1)\n",
    "hash order": "def add(a, b):\n    return a + b + (hash('hash') & 1)  # {n}\n",  # 0 with the seeds 0, 1 with 1
}
WHOLE = Problem("T/add", "def add(a, b):\n", "add", "    return a + b\n", [[1, 2]], [])


@pytest.mark.parametrize("kind", FLAKY)
def test_flaky_programs_are_found(kind: str, sandbox: Sandbox, tmp_path: Path) -> None:  # noqa: F811
    texts = [FLAKY[kind].format(n=n) for n in range(30)] + [f"def add(a, b): return a + b  # {n}" for n in range(5)]
    answers = [answer_of_row({"task_id": "T/add", "solution": text}, WHOLE.prompt, "add") for text in texts]
    grades = score_answers([WHOLE], answers, sandbox, tmp_path, NEVER, recheck=1.0)
    flaky = [result.flaky for result in grades.results]
    assert grades.recheck == Recheck(35, sum(flaky))
    assert any(flaky[:30])
    assert not any(flaky[30:])
    if kind == "hash order":
        assert all(flaky[:30])
        assert {result.plus for result in grades.results} == {"pass"}  # the first verdict, with hash seed 0, counts


def test_rechecks_of_doubtful_programs(sandbox: Sandbox, tmp_path: Path) -> None:  # noqa: F811
    """A program that runs out of time, with one hash seed or with all of them, is always among them."""
    texts = [f"def add(a, b):\n    while {f}: pass\n    return a + b" for f in ("True", "hash('hash') & 1 == 0")]
    texts += [f"def add(a, b): return a + b  # {n}" for n in range(8)]
    answers = [answer_of_row({"task_id": "T/add", "solution": text}, WHOLE.prompt, "add") for text in texts]
    grades = score_answers([WHOLE], answers, sandbox, tmp_path, NEVER, recheck=0.01)
    assert [result.flaky for result in grades.results] == [False, True, *[False] * 8]
    assert [result.base for result in grades.results] == ["timeout", "timeout", *["pass"] * 8]
    assert 2 <= grades.recheck.programs <= 3
    assert score_answers([WHOLE], answers[2:], sandbox, tmp_path, NEVER).recheck == Recheck(0, 0)


def test_references_keep_their_hash_seed(sandbox: Sandbox, tmp_path: Path) -> None:  # noqa: F811
    """An expected output computed while programs run with another hash seed is the same."""
    order = "    return sorted({'north', 'south', 'west'}, key=hash) * n\n"  # longer than what is kept of it
    problem = Problem("T/order", "def f(n):\n", "f", order, [[10_000]], [])
    answers = [answer_of_row({"task_id": "T/order", "completion": order + "# mine"}, problem.prompt, "f")]
    [result] = score_answers([problem], answers, sandbox, tmp_path, NEVER, recheck=1.0).results
    assert (result.plus, result.flaky) == ("pass", True)
    [again] = score_answers([problem], answers, sandbox, tmp_path, NEVER).results
    assert (again.plus, again.flaky) == ("pass", False)


# --- the sandbox's own death ------------------------------------------------------------------------------------------
def test_a_sandbox_that_dies_is_replaced(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    expected_outputs([ADD], sandbox, tmp_path)
    real, deaths = Worker.run, []

    def die_once(worker: Worker, *rest: Any) -> Any:
        if not deaths:
            deaths.append(worker.close())
            raise WorkerDied("killed")
        return real(worker, *rest)

    monkeypatch.setattr(Worker, "run", die_once)
    [result] = score_programs([ADD], [{"task_id": "T/add", "completion": "    return a + b\n"}], sandbox, tmp_path)
    assert result.plus == "pass"


def test_a_sandbox_that_dies_twice_fails_the_program(
    sandbox: Sandbox,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected_outputs([ADD], sandbox, tmp_path)

    def die(worker: Worker, *rest: Any) -> Any:
        worker.close()
        raise WorkerDied("killed")

    monkeypatch.setattr(Worker, "run", die)
    [result] = score_programs([ADD], [{"task_id": "T/add", "completion": "    return a + b\n"}], sandbox, tmp_path)
    assert (result.base, result.detail) == ("fail", "base: the sandbox ended twice")


def test_a_long_output_where_a_short_one_is_expected_is_no_reason_to_read_it(verdict: Any, monkeypatch: Any) -> None:
    """Above 1 MiB, or 8 times the expected output, its digest is enough; the program does not run again."""
    runs = []
    real = Worker.run
    monkeypatch.setattr(Worker, "run", lambda *rest: runs.append(rest[1].inline) or real(*rest))
    assert verdict(ADD, completion="    return 'x' * 2_000_000").base == "fail"
    assert runs[-1] == 1 << 16
    runs.clear()
    assert verdict(ADD, completion="    return 'x' * 500_000").base == "fail"
    assert runs == [1 << 16, 16 << 20, 16 << 20, 1 << 20]  # with the reference's two suites, for its whole outputs
