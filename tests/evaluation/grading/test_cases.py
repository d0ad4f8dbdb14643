"""Answers in many forms, made from public bug reports: right ones pass, wrong ones fail; EvalPlus 0.3.1 beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from src.evaluation.grading.forms.problems import load_problems
from src.evaluation.grading.grade import FALLBACK, score_programs
from src.evaluation.sandbox.pool import Sandbox
from src.utils.errors import UserError
from src.utils.jsonl import read_jsonl
from tests.data.shared import needs_shared, shared

pytestmark = [pytest.mark.slow, needs_shared]
PROBLEMS = {"humaneval": "HumanEvalPlus-v0.1.10.jsonl.gz", "mbpp": "MbppPlus-v0.2.0.jsonl.gz"}
WRONG = {
    ("Mbpp/6", "good"): "the reference takes a difference of no bits for one of two powers of two; EvalPlus agrees"
}
BY_CHANCE = {"random flaky 50%"}
# Why a verdict on all inputs is not EvalPlus's.
FENCED = "EvalPlus grades files as they stand: it finds no code in fences"
TAIL = "what follows the code is no Python; EvalPlus grades it along"
REASONS = {
    "prompt repeated, leading space": "a space before the whole program",
    **dict.fromkeys(
        (
            *("fence py", "fence Python3 title", "fence tilde", "fence 4 backticks", "fence CRLF", "fence unclosed"),
            *("fence on same line", "fence inside docstring", "fence body only", "two blocks code+usage"),
            *("block with doctest output", "fenced table by loop", "fenced helper w/o return", "fenced decorated"),
            *("null byte in fence", "lone surrogate in fence", "fenced +0 x 300000"),
        ),
        FENCED,
    ),
    **dict.fromkeys(("special token tail", "eot tail", "partial token tail", "smart quotes"), TAIL),
    "BOM": "a byte order mark before the whole program",
    "default recursion 980": "EvalPlus's own frames use up more of the stack",
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    try:
        with Sandbox() as opened:
            yield opened
    except UserError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("benchmark", PROBLEMS)
def test_right_programs_pass_and_wrong_ones_fail(benchmark: str, sandbox: Sandbox, tmp_path: Path) -> None:
    path = shared("cases", "programs.jsonl")
    if not path.is_file():
        pytest.skip(f"needs {path}")
    rows = [row for row in read_jsonl(path) if row["benchmark"] == benchmark]
    problems = load_problems(shared("data", benchmark, PROBLEMS[benchmark]))
    answers = [{key: row[key] for key in ("task_id", "completion", "solution") if key in row} for row in rows]
    verdicts = score_programs(problems, answers, sandbox, tmp_path, FALLBACK)
    passed = [verdict.plus == "pass" for verdict in verdicts]
    expected = [
        row["right"] == 1 and (row["task_id"], row["name"]) not in WRONG if row["right"] in (0, 1) else result
        for row, result in zip(rows, passed, strict=True)
    ]
    names = [(row["task_id"], row["name"]) for row in rows]
    assert dict(zip(names, passed, strict=True)) == dict(zip(names, expected, strict=True))
    theirs = [(row["evalplus_0_3_1"] or {}).get("plus") == "pass" for row in rows]
    differ = {row["name"] for row, one, other in zip(rows, passed, theirs, strict=True) if one != other} - BY_CHANCE
    assert differ == {row["name"] for row in rows} & set(REASONS)
