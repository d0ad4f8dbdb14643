"""Rows of LiveCodeBench, APPS and MultiPL-E as problems."""

import base64
import json
import pickle
import zlib

import pytest

from src.evaluation.benchmarks.program_rows import input_output_problems, multipl_e_problems
from src.utils.errors import UserError
from src.utils.jsonl import write_jsonl
from tests.evaluation.grading.forms.languages import language

PROMPTS = {"stdin_prompt": "{language}: {question}", "starter_prompt": "{question}|{starter}"}
STDIN = {
    "question_id": "abc1", "question_content": "Add {a}.", "contest_date": "2024-05-01T00:00:00", "starter_code": "",
    "public_test_cases": json.dumps([{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}]),
    "private_test_cases": json.dumps([{"input": "4 5\n", "output": "9\n", "testtype": "stdin"}]),
    "metadata": "{}",
}  # fmt: skip
CALLS = {
    **STDIN, "question_id": "7", "starter_code": "class Solution: ...", "metadata": json.dumps({"func_name": "add"}),
    "contest_date": "2024-07-01", "private_test_cases": "[]",
    "public_test_cases": json.dumps([{"input": "[1, 2]\n\"x\"", "output": "[3]", "testtype": "functional"}]),
}  # fmt: skip


def read(tmp_path, rows, **changes):
    write_jsonl(tmp_path / "rows.jsonl", rows)
    return input_output_problems("test", str(tmp_path / "rows.jsonl"), language("python"), **{**PROMPTS, **changes})


def test_livecodebench(tmp_path):
    stdin, calls = read(tmp_path, [STDIN, CALLS], prefix="L/", tolerance=0.5)
    assert (stdin["task_id"], stdin["prompt"]) == ("L/abc1", "Python: Add {a}.")
    assert stdin["tests"]["cases"] == [["1 2\n", "3\n"], ["4 5\n", "9\n"]]
    assert (stdin["tests"]["form"], stdin["tests"]["seconds"], stdin["tests"]["tolerance"]) == ("stdin", 6.0, 0.5)
    assert (calls["prompt"], calls["entry_point"]) == ("Add {a}.|class Solution: ...", "add")
    assert calls["tests"]["cases"] == [[[[1, 2], "x"], [3]]]
    assert (calls["tests"]["form"], calls["tests"]["or_first"]) == ("calls", False)
    json.dumps([stdin, calls])  # their hash is part of an evaluation's identity


def test_compressed_tests_run_no_code(tmp_path):
    def packed(value):
        return base64.b64encode(zlib.compress(pickle.dumps(value))).decode()

    row = {**STDIN, "private_test_cases": packed(STDIN["private_test_cases"])}
    assert read(tmp_path, [row])[0]["tests"]["cases"] == [["1 2\n", "3\n"], ["4 5\n", "9\n"]]
    for bad in (packed(print), "no base64", packed(b"\xff")):
        with pytest.raises(UserError, match=r"row 1: its tests are neither JSON nor compressed JSON"):
            read(tmp_path, [{**STDIN, "private_test_cases": bad}])


def test_apps(tmp_path, capsys):
    rows = [
        {
            "id": 1,
            "question": "Q",
            "input_output": json.dumps({"inputs": ["1\n", ["2", "3"]], "outputs": ["1", ["2"]]}),
        },
        {"id": 2, "question": "Q", "input_output": {"fn_name": "f", "inputs": [[1, "x"]], "outputs": [[2]]}},
        {"id": 3, "question": "Q", "input_output": ""},
    ]
    stdin, calls = read(tmp_path, rows)
    assert stdin["tests"]["cases"] == [["1\n", "1"], ["2\n3", "2"]]
    assert (calls["entry_point"], calls["tests"]["cases"], calls["tests"]["or_first"]) == ("f", [[[1, "x"], [2]]], True)
    assert "1 of 3 problems have no tests" in " ".join(capsys.readouterr().err.split())


def test_dates(tmp_path):
    assert len(read(tmp_path, [STDIN, CALLS], dates=["2024-05-01", None])) == 2
    assert [row["task_id"] for row in read(tmp_path, [STDIN, CALLS], dates=["2024-05-02", "2024-07-01"])] == ["7"]
    with pytest.raises(UserError, match="contest_date or date"):
        read(tmp_path, [{**STDIN, "contest_date": None}], dates=["2024-05-02", None])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"question_content": ""}, "question_content or question"),
        ({"question_id": None}, "question_id or task_id"),
        ({"public_test_cases": '[{"input": "1", "output": "1", "testtype": "file"}]'}, "stdin or functional"),
        ({"public_test_cases": '[{"input": "1", "output": "1", "testtype": "functional"}]'}, "stdin or functional"),
        (
            {
                "public_test_cases": '[{"input": "1", "output": "1", "testtype": "functional"}]',
                "private_test_cases": "",
            },
            "no func_name",
        ),
    ],
)
def test_defects(tmp_path, change, words):
    with pytest.raises(UserError, match=words):
        read(tmp_path, [{**STDIN, **change}])


def test_functions_are_called_in_python_only(tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", [CALLS])
    with pytest.raises(UserError, match=r"add\(\), which only Python"):
        input_output_problems("test", str(tmp_path / "rows.jsonl"), language("javascript"), **PROMPTS)


def test_arguments_that_are_not_json(tmp_path):
    row = {**CALLS, "public_test_cases": '[{"input": "x", "output": "1", "testtype": "functional"}]'}
    with pytest.raises(UserError, match="not JSON"):
        read(tmp_path, [row])


MULTIPL_E = {
    "name": "HumanEval_0_f", "language": "js", "prompt": "function f(){\n", "tests": "f();", "stop_tokens": ["\n//"]
}  # fmt: skip


def test_multipl_e(tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", [MULTIPL_E])
    [row] = multipl_e_problems("test", str(tmp_path / "rows.jsonl"), language("javascript"), [r"\Z", "throw 1"])
    assert (row["task_id"], row["prompt"], row["stop"]) == ("HumanEval_0_f", "function f(){\n", ["\n//"])
    assert (row["tests"]["form"], row["tests"]["text"], row["tests"]["seconds"]) == ("file", "f();", 15.0)
    assert row["tests"]["version"].startswith("v")
    json.dumps(row)


def test_multipl_e_in_another_language(tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", [{**MULTIPL_E, "language": "java"}])
    with pytest.raises(UserError, match=r"row 1: its language is 'java', the benchmark's is JavaScript"):
        multipl_e_problems("test", str(tmp_path / "rows.jsonl"), language("javascript"))
    write_jsonl(tmp_path / "rows.jsonl", [{**MULTIPL_E, "tests": ""}])
    with pytest.raises(UserError, match="expected tests, got the fields"):
        multipl_e_problems("test", str(tmp_path / "rows.jsonl"), language("javascript"))
