from __future__ import annotations

from pathlib import Path

import pytest

from src.evaluation.generators.samples import Sample
from src.evaluation.grading.judge import ProgramJudge
from src.utils.errors import UserError
from tests.evaluation.sandbox.conftest import sandbox  # noqa: F401 (a fixture)

ROW = {
    "task_id": "T/0", "prompt": "def f(x):\n", "entry_point": "f", "canonical_solution": "    return x\n",
    "base_input": [[1]], "plus_input": [[-2]],
}  # fmt: skip


@pytest.mark.usefixtures("sandbox")
def test_judge(tmp_path: Path) -> None:
    samples = [Sample("T/0", "", "    return x\n"), Sample("T/0", "", "    return abs(x)\n", index=1)]
    with ProgramJudge(workers=2, min_seconds=0.2, cache=str(tmp_path)) as judge:
        verdicts = judge([ROW], samples)
        assert [(v.base, v.plus) for v in verdicts] == [("pass", "pass"), ("pass", "fail")]
        rows = judge.verdict_rows()
        judge.close()
        assert judge([ROW], samples) == verdicts
    assert rows[1] == {
        "task_id": "T/0", "sample": 1, "base": "pass", "plus": "fail",
        "detail": "plus: input 0: wrong output", "flaky": False,
    }  # fmt: skip


def test_bad_settings() -> None:
    with pytest.raises(UserError, match=r"sandbox\.workers: expected at least 1, got 0"):
        ProgramJudge(workers=0)
    with pytest.raises(UserError, match="unknown isolation 'unsave', did you mean 'unsafe'"):
        ProgramJudge(isolation="unsave")
