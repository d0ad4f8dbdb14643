"""A language model behind a small server grades summaries."""

import json

import pandas as pd
import pytest

from src.pocket.benchmarks import summary_rows
from src.stages.evaluate.run import evaluate, show
from src.stages.job import compose_job
from src.utils.errors import UserError
from src.utils.jsonl import read_jsonl, write_jsonl
from tests.evaluation.generators.server import serving


def grade(prompt):
    """Grades by the summary's first word, in order: 5, 1, none."""
    summary = prompt.split("<summary>\n")[1]
    return {"good": "Well.\nScore: 5", "bad": "Wrong.\nScore: 1"}.get(summary.split()[0], "It depends.")


def test_a_judge_grades_and_is_recorded(tmp_path, capsys):
    rows = summary_rows("test", 3)
    write_jsonl(tmp_path / "rows.jsonl", rows)
    answers = [
        {"task_id": f"codexglue/{n}", "completion": f"{word} text"} for n, word in enumerate(("good", "bad", "odd"))
    ]
    write_jsonl(tmp_path / "answers.jsonl", answers)
    with serving() as server:
        server.answer = grade
        judge = [f"benchmark.judge.base_url={server.url}", "benchmark.judge.model=tiny"]
        places = [f"benchmark.rows={tmp_path}/rows.jsonl", f"output_root={tmp_path}/runs"]
        places += ["benchmark.metrics=[rouge_l]", "benchmark.corpus=[]"]
        command = ["benchmark=codexglue", f"samples={tmp_path}/answers.jsonl", *places, *judge]
        directory = evaluate(compose_job("evaluate", command))
        assert len(server.asked) == 3
        evaluate(compose_job("evaluate", [*command, f"output={tmp_path}/again"]))
        assert len(server.asked) == 3  # replies are kept
        with pytest.raises(UserError, match=r"unknown benchmark\.judge\.model 'tinny', did you mean 'tiny'"):
            evaluate(compose_job("evaluate", [*command, "benchmark.judge.model=tinny", f"output={tmp_path}/other"]))
    scores = pd.read_csv(directory / "scores.csv").set_index("metric")
    assert list(scores.loc["judge", ["value", "n"]]) == [0.5, 2]
    assert scores.loc["rouge_l", "n"] == 3
    record = json.loads((directory / "run.json").read_text())
    assert record["results"]["judge"]["codexglue"]["unread"] == {"codexglue/2": "It depends."}
    assert "<summary>\n{prediction}" in record["results"]["judge"]["codexglue"]["prompt"]
    assert record["config"]["rules"]["codexglue"]["judge"]["server"] == "vllm 0.12.0"
    replies = read_jsonl(directory / "judge-codexglue.jsonl")
    assert [row["score"] for row in replies] == [1.0, 0.0, None]
    assert rows[0]["docstring"] in replies[0]["prompt"]
    assert "good text" in replies[0]["prompt"]
    show(directory)
    printed = capsys.readouterr().out
    assert "codexglue: tiny graded 2 of 3 summaries" in printed
    assert "codexglue/2 ('It depends.')" in printed


def test_a_judge_of_two_files_needs_a_prompt_without_the_function(tmp_path):
    (tmp_path / "wanted.txt").write_text("0\tadd two numbers\n")
    (tmp_path / "got.txt").write_text("0\tgood text\n")
    with serving() as server:
        files = [f"predictions={tmp_path}/got.txt", f"references={tmp_path}/wanted.txt", f"output_root={tmp_path}"]
        judge = [f"benchmark.judge.base_url={server.url}", "benchmark.judge.model=tiny"]
        command = ["benchmark=codexglue", "benchmark.metrics=[rouge_l]", "benchmark.corpus=[]", *files, *judge]
        with pytest.raises(UserError, match=r"benchmark\.judge\.prompt has \{code\}"):
            evaluate(compose_job("evaluate", command))
        prompt = 'benchmark.judge.prompt="<summary> {prediction}, {reference}"'
        server.answer = lambda asked: "Score: 5" if "good text, add two numbers" in asked else "none"
        directory = evaluate(compose_job("evaluate", [*command, prompt]))
    assert pd.read_csv(directory / "scores.csv").set_index("metric").loc["judge", "value"] == 1
