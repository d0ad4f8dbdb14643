"""ProgramJudge, which conf/sandbox builds."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.evaluation.grading.program_judge import ProgramJudge
from src.evaluation.grading.programs import answer_of_row
from src.utils.errors import UserError
from tests.evaluation.sandbox.conftest import sandbox  # noqa: F401 (a fixture)

ROW = {
    "task_id": "T/0", "prompt": "def f(x):\n", "entry_point": "f", "canonical_solution": "    return x\n",
    "base_input": [[1]], "plus_input": [[-2]],
}  # fmt: skip


@pytest.mark.usefixtures("sandbox")
def test_judge(tmp_path: Path) -> None:
    texts = ["    return x\n", "    return abs(x)\n", "def f(x): return x\n\nThis is it (really).\n"]
    answers = [answer_of_row({"task_id": "T/0", "completion": text}, "def f(x):\n", "f") for text in texts]
    with ProgramJudge(workers=2, min_time_limit=0.2, cache=str(tmp_path)) as judge:
        verdicts = judge([ROW], answers)
        assert [(v.base, v.plus) for v in verdicts] == [("pass", "pass"), ("pass", "fail"), ("pass", "pass")]
        rows = judge.verdict_rows()
        judge.close()
        assert judge([ROW], answers) == verdicts
        assert judge.other_choice() == {"programs": 3, "differ": 0, "pass_only_here": 0, "pass_only_there": 0}
        assert judge([ROW], answers[2:], "never")[0].base == "fail"
        assert judge.other_choice() is None
    assert rows[1] == {
        "task_id": "T/0", "sample": 1, "base": "pass", "plus": "fail",
        "detail": "plus: input 0: wrong output", "flaky": False,
    }  # fmt: skip


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize(("sanitize", "mine", "others"), [("fallback", 1, 0), ("evalplus", 0, 1)])
def test_both_ways_to_sanitize_are_counted(sanitize: str, mine: int, others: int, tmp_path: Path) -> None:
    """A right program that EvalPlus's sanitizer breaks, one that it leaves alone, a wrong one, and prose."""
    texts = [
        "A, B = 0, 1\ndef f(x):\n    return B * x",
        "def f(x):\n    return x",
        "def f(x):\n    return 7",
        "No (not",
    ]
    answers = [answer_of_row({"task_id": "T/0", "solution": text}, "def f(x):\n", "f") for text in texts]
    with ProgramJudge(workers=1, min_time_limit=0.2, cache=str(tmp_path)) as judge:
        assert sum(v.plus == "pass" for v in judge([ROW], answers, sanitize)) == 1 + mine
        counts = {"programs": 4, "differ": 1, "pass_only_here": mine, "pass_only_there": others}
        assert judge.other_choice() == counts


def test_bad_settings() -> None:
    with pytest.raises(UserError, match=r"sandbox\.workers: expected at least 1, got 0"):
        ProgramJudge(workers=0)
    with pytest.raises(UserError, match="unknown isolation 'unsave', did you mean 'unsafe'"):
        ProgramJudge(isolation="unsave")
