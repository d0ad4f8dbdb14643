"""Hostile programs by name: each fails within its limit, and the honest programs before and after it pass."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from src.evaluation.grading.forms import run_tests as suites
from src.evaluation.grading.forms.problems import Problem
from src.evaluation.grading.grade import score_programs
from src.evaluation.grading.results import ProgramResult
from src.evaluation.sandbox.pool import Sandbox
from tests.evaluation.sandbox.hostile_programs import DEATHS, EXHAUSTION, FORGERIES, HONEST

PROBLEM = Problem(
    task_id="Hostile/0",
    prompt="def f(a, b):\n",
    entry_point="f",
    canonical_solution="    return [a + b, 'answer-%d' % (a * b)]\n",
    base_input=[[1, 2], [3, 4]],
    plus_input=[[number, number + 5] for number in range(10)],
)
SECONDS = 12.0  # far above what any of them may take: twice (alone, again) 0.1 s of CPU a test


@pytest.fixture(autouse=True)
def _short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suites, "LOAD_SECONDS", 0.5)


def judge(body: str, sandbox: Sandbox, cache: Path) -> list[ProgramResult]:
    """The hostile program between two honest ones; one worker, so that one sandbox runs all three in this order."""
    lines = "\n".join("    " + line for line in body.strip("\n").splitlines())
    texts = [HONEST, lines, "    # again\n" + HONEST]
    samples = [{"task_id": PROBLEM.task_id, "completion": text} for text in texts]
    return score_programs([PROBLEM], samples, sandbox, cache)


SLEEPERS = ("lock_that_nobody_opens", "stop_itself")  # like `sleep`, which is in the default run
NAMES = [
    pytest.param(name, marks=[pytest.mark.slow] if name in SLEEPERS else [])
    for name in (*EXHAUSTION, *DEATHS, *FORGERIES)
]


@pytest.mark.parametrize("name", NAMES)
def test_hostile_program_fails_alone(name: str, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> None:
    cache = tmp_path_factory.getbasetemp() / "truth"
    started = time.monotonic()
    before, hostile, after = judge((EXHAUSTION | DEATHS | FORGERIES)[name], sandbox, cache)
    assert time.monotonic() - started < SECONDS
    assert (before.base, before.plus) == ("pass", "pass")
    assert hostile.base in ("fail", "timeout")
    assert hostile.plus == hostile.base
    assert hostile.detail
    assert (after.base, after.plus) == ("pass", "pass")


@pytest.mark.parametrize("top_level", ["while True: pass", "import os; os._exit(0)", "raise SystemExit", "f = None"])
def test_hostile_top_level(top_level: str, sandbox: Sandbox, tmp_path: Path) -> None:
    sample = {"task_id": PROBLEM.task_id, "solution": top_level}
    [verdict] = score_programs([PROBLEM], [sample], sandbox, tmp_path)
    assert verdict.base in ("fail", "timeout")


def test_a_right_answer_needs_no_honesty_about_time(sandbox: Sandbox, tmp_path: Path) -> None:
    """A program that computes the right answers and tampers with its progress counter only has its own time to lose."""
    body = "    import sys\n    sys._getframe(1).f_locals\n" + HONEST
    [verdict] = score_programs([PROBLEM], [{"task_id": PROBLEM.task_id, "completion": body}], sandbox, tmp_path)
    assert (verdict.base, verdict.plus) == ("pass", "pass")
