from __future__ import annotations

from src.evaluation.grading.results import ProgramResult


def test_rows() -> None:
    verdict = ProgramResult("T/0", 1, "pass", "fail", "plus: input 0: wrong output")
    assert verdict.row() == {
        "task_id": "T/0", "sample": 1, "base": "pass", "plus": "fail",
        "detail": "plus: input 0: wrong output", "flaky": False,
    }  # fmt: skip
