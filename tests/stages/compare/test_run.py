from __future__ import annotations

import runpy
import sys

import pandas as pd
import pytest

from src.evaluation.statistics.compare import compare as compare_scores
from src.evaluation.statistics.differences import COLUMNS
from src.evaluation.statistics.scores import Score, write_scores
from src.reporting.console import print_comparison, print_differences
from src.stages.compare.run import compare, show
from src.stages.job import CONF, compose_job
from src.utils.errors import UserError
from src.utils.jsonl import write_jsonl
from tests.stages.command import UNTOUCHED_LOGGING


def evaluation(directory, solved):
    """Item scores of a model that solves the first of 20 problems."""
    directory.mkdir(parents=True)
    rows = [Score("humaneval", f"t{item}", "pass@1", float(item < solved)) for item in range(20)]
    write_scores(rows, directory.name, directory / "items.csv")
    return str(directory)


@pytest.fixture
def runs(tmp_path):
    return [evaluation(tmp_path / name, solved) for name, solved in (("a", 4), ("b, c", 16), ("d", 4))]


def test_runs_are_compared_with_the_first(runs, tmp_path):
    places = [f"reference={runs[0]}", f"runs=['{runs[1]}','{runs[2]}/items.csv']", f"output_root={tmp_path}"]
    directory = compare(compose_job("compare", places))
    assert directory == tmp_path / "compare" / "a-vs-b, c+d"
    table = pd.read_csv(directory / "comparison.csv").set_index("subject")
    better, tie = table.loc["b, c"], table.loc["d"]
    assert (better["n"], better["difference"], better["verdict"]) == (20, 0.6, "better")
    assert better["p_mcnemar"] == pytest.approx(2 / 2**12)  # 12 of 12 discordant items
    assert better["p_corrected"] == pytest.approx(2 * 2 / 2**12)
    assert (tie["difference"], tie["p_corrected"], tie["verdict"]) == (0, 1, "tie")


def test_the_command_takes_runs_by_position(runs, tmp_path, monkeypatch, capsys):
    arguments = [runs[0], runs[1], f"output_root={tmp_path}", runs[2], *UNTOUCHED_LOGGING]
    monkeypatch.setattr(sys, "argv", ["compare.py", *arguments])
    for name, value in (("HYDRA_FULL_ERROR", "1"), ("OMP_WAIT_POLICY", "passive"), ("COLUMNS", "200")):
        monkeypatch.setenv(name, value)
    runpy.run_path(str(CONF.parent / "compare.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert "difference from a" in printed
    assert "+60.00" in printed
    assert (tmp_path / "compare" / "a-vs-b, c+d" / "run.json").is_file()


def test_items_that_changed_are_another_comparison(runs, tmp_path):
    places = [f"reference={runs[0]}", f"runs=[{runs[2]}]", f"output={tmp_path}/out"]
    compare(compose_job("compare", places))
    (tmp_path / "d" / "items.csv").unlink()
    (tmp_path / "d").rmdir()
    evaluation(tmp_path / "d", 7)
    with pytest.raises(UserError, match=r"holds another run.*inputs\.d"):
        compare(compose_job("compare", places))


def test_bad_input_is_said_in_one_line(runs):
    with pytest.raises(UserError, match=r"one or more evaluations.*compare\.py RUN OTHER"):
        compare(compose_job("compare", []))
    with pytest.raises(UserError, match="page_limit=-1"):
        compare(compose_job("compare", [f"reference={runs[0]}", "page_limit=-1"]))
    with pytest.raises(UserError, match="a is given twice"):
        compare(compose_job("compare", [f"reference={runs[0]}", f"runs=[{runs[0]}]"]))
    with pytest.raises(UserError, match=r"/nowhere: expected a run directory of evaluate\.py"):
        compare(compose_job("compare", [f"reference={runs[0]}", "runs=[/nowhere]"]))


def test_differences_show_both_answers_and_the_failing_test(runs, tmp_path):
    for name, passed in (("a", False), ("b, c", True)):
        failure = {} if passed else {"input": "[1, 2]", "expected": "3", "got": "-1"}
        row = {"task_id": "t9", "sample": 0, "passed": passed, "answer": f"program of {name}", "prompt": "add"}
        write_jsonl(tmp_path / name / "details-humaneval.jsonl", [row | failure])
    job = compose_job("compare", [f"reference={runs[0]}", f"runs=['{runs[1]}']", f"output_root={tmp_path}"])
    table = pd.read_csv(compare(job) / "differences.csv", keep_default_na=False).set_index("item")
    assert list(table.index) == [f"t{number}" for number in range(4, 16)]  # solved by one of the two
    row = table.loc["t9"]
    assert (row["reference_value"], row["value"], row["prompt"]) == (0, 1, "add")
    assert (row["reference_answer"], row["answer"]) == ("program of a", "program of b, c")
    assert (row["input"], row["expected"], row["reference_got"], row["got"]) == ("[1, 2]", "3", "-1", "")


def test_the_terminal_shows_the_first_differences_and_obeys_no_answer(capsys):
    shown = dict.fromkeys(COLUMNS, "") | {"reference": "a", "subject": "b", "benchmark": "mbpp", "metric": "pass@1+"}
    rows = [shown | {"item": f"t{n}", "reference_value": 0.0, "value": 1.0, "answer": "\x1b[2J[red]"} for n in range(3)]
    print_differences(rows, 2, "differences.csv")
    printed = capsys.readouterr().out
    assert "b is better on 3 items, a on 0" in printed
    assert "t1" in printed
    assert "t2" not in printed
    assert "\\x1b[2J[red]" in printed
    assert "\x1b" not in printed


def test_the_terminal_says_what_intervals_draw(capsys):
    """Functions of one repository are one draw; a benchmark of independent problems needs no word."""
    base = [
        Score("codexglue", f"c/{n}", metric, n / 9, f"r{n % 3}") for n in range(9) for metric in ("chrf++", "rouge_l")
    ]
    base += [Score("humaneval", f"h/{n}", "pass@1", float(n % 2)) for n in range(4)]
    rows = [test.row() for test in compare_scores(base, {"b": base}, resamples=50)]
    print_comparison(rows, "a", "runs/compare/a-vs-b")
    printed = capsys.readouterr().out
    assert printed.count("codexglue: intervals draw the 3 clusters of the 9 rows") == 1
    assert "humaneval: intervals" not in printed
    assert printed.splitlines()[0] == "runs/compare/a-vs-b"


def test_differences_are_also_a_page(runs, tmp_path):
    job = compose_job("compare", [f"reference={runs[0]}", f"runs=['{runs[1]}']", f"output_root={tmp_path}"])
    page = (compare(job) / "differences.html").read_text()
    assert "of 20 problems, b, c solves 12 that a does not, a solves 0 that b, c does not (pass@1)" in page
    assert page.count("<details") == 12


def test_one_run_is_listed_with_every_answer(runs, tmp_path, capsys):
    write_jsonl(tmp_path / "a" / "details-humaneval.jsonl", [{"task_id": "t9", "passed": False, "answer": "x = 9"}])
    directory = compare(compose_job("compare", [f"reference={runs[0]}", f"output_root={tmp_path}"]))
    assert directory == tmp_path / "compare" / "a"
    table = pd.read_csv(directory / "answers.csv", keep_default_na=False).set_index("item")
    assert list(table["value"]) == [0.0] * 16 + [1.0] * 4  # the failed ones first
    assert table.loc["t9", "answer"] == "x = 9"
    assert (directory / "answers.html").read_text().count("<details") == 20
    show(directory, 3)
    assert f"20 answers: {directory}/answers.csv and answers.html" in capsys.readouterr().out
