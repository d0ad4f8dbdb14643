"""Attacks on a scoring run, from public reports: the hostile program fails, and the honest ones beside it pass."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.evaluation.grading.forms.problems import load_problems
from src.evaluation.grading.grade import score_programs
from src.evaluation.sandbox.pool import Sandbox
from src.utils.errors import UserError
from src.utils.jsonl import read_jsonl

pytestmark = pytest.mark.slow
SHARED = Path(__file__).resolve().parents[4] / "shared"
ATTACKS = SHARED / "cases" / "attacks"
PROBLEMS = {
    "HumanEval": "data/humaneval/HumanEvalPlus-v0.1.10.jsonl.gz",
    "Mbpp": "data/mbpp/MbppPlus-v0.2.0.jsonl.gz",
}
HONEST = {  # places of the honest programs in each file
    "cheat": (1, 2, 3),
    "pipe_last": (0, 1, 2, 3, 4, 6, 7, 8),
    "bomb": (1, 2, 3),
    "big": (1,),
    "sleep": (1, 2, 3),
}
SECONDS = {"sleep": 40.0}  # it may wait for the limit of each of a handful of inputs, twice


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    try:
        with Sandbox(workers=1) as opened:
            yield opened
    except UserError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", HONEST)
def test_attack_fails_alone(name: str, sandbox: Sandbox, tmp_path: Path) -> None:
    if not ATTACKS.is_dir():
        pytest.skip("needs ../shared/cases")
    rows = read_jsonl(ATTACKS / f"{name}.jsonl")
    dataset = rows[0]["task_id"].split("/")[0]
    problems = load_problems(SHARED / PROBLEMS[dataset])
    score_programs(problems, [{**row, "solution": "x = 1"} for row in rows], sandbox, tmp_path)  # the expected outputs
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    results = score_programs(problems, rows, sandbox, tmp_path)
    passed = tuple(place for place, result in enumerate(results) if result.plus == "pass")
    assert passed == HONEST[name]
    assert not any(result.flaky for result in results)
    assert time.monotonic() - started < SECONDS.get(name, 30.0)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10  # KiB: the trusted process's peak
