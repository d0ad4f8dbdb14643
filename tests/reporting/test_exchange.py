"""What we write, read by the tool that the format is from."""

import json

from evalplus import evaluate as evalplus

from src.evaluation.grading.results import ProgramResult
from src.reporting.exchange import evalplus_results


def test_evalplus_reads_our_results(tmp_path, capsys):
    problems = [{"task_id": f"P/{number}", "base_input": [[1], [2]], "plus_input": [[3]]} for number in range(2)]
    results = [
        ProgramResult("P/0", 0, "pass", "pass"),
        ProgramResult("P/0", 1, "pass", "fail", "plus: input 0: 4 instead of 3"),
        ProgramResult("P/1", 0, "fail", "fail", "base: input 1: 4 instead of 3"),
        ProgramResult("P/1", 1, "timeout", "timeout"),
    ]
    found = evalplus_results(problems, results, ["a", "b", "c", "d"], "hash", "2026-01-01 00:00")
    assert [row["plus_fail_tests"] for row in found["eval"]["P/0"]] == [[], [[3]]]
    assert [row["base_fail_tests"] for row in found["eval"]["P/1"]] == [[[2]], []]
    (tmp_path / "samples_eval_results.json").write_text(json.dumps(found))
    evalplus.evaluate("humaneval", samples=str(tmp_path / "samples.jsonl"))
    printed = capsys.readouterr().out
    assert "Load from previous results" in printed
    assert "pass@1:\t0.500" in printed  # base tests
    assert "pass@1:\t0.250" in printed  # base and plus tests
    assert found["pass_at_k"] == {"base": {"pass@1": 0.5}, "plus": {"pass@1": 0.25}}
