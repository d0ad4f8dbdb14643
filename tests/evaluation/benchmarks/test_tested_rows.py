from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from src.evaluation.benchmarks import tested_rows
from src.evaluation.benchmarks.code import CodeBenchmark
from src.evaluation.benchmarks.mbpp import mbpp_problems
from src.evaluation.benchmarks.tested_rows import problems_with_tests
from src.evaluation.generators.samples import Decoding, Sample
from src.evaluation.grading.forms.registry import read_problems
from src.evaluation.grading.grade import score_programs
from src.evaluation.grading.results import ProgramResult
from src.evaluation.sandbox.pool import Sandbox
from src.utils.errors import UserError
from src.utils.jsonl import write_jsonl
from tests.evaluation.sandbox.conftest import sandbox  # noqa: F401 (a fixture)

HUMANEVAL = {
    "task_id": "HumanEval/32",
    "prompt": "import math\n\ndef poly(x):\n    return math.floor(x)\n\ndef root(x):\n    '''A root of poly.'''\n",
    "entry_point": "root",
    "canonical_solution": "    return 0.5\n",
    "test": "METADATA = {}\n\ndef check(candidate):\n    assert poly(candidate(1)) == 0\n",
}
BIG = {
    "task_id": "BigCodeBench/0",
    "complete_prompt": "import json\ndef task_func(x):\n    '''Dump x.'''\n",
    "instruct_prompt": "Dump x.",
    "code_prompt": "import json\ndef task_func(x):\n",
    "canonical_solution": "    return json.dumps(x)\n",
    "entry_point": "task_func",
    "libs": "['json']",
    "test": "import unittest\nclass TestCases(unittest.TestCase):\n    def test_it(self):\n"
    "        self.assertEqual(task_func([1]), '[1]')\n",
}
BIG_FIELDS = {"prompt": "complete_prompt", "before_solution": "code_prompt"}
MBPP = {
    "task_id": 11,
    "text": "Write a function to remove the first occurrence.",
    "code": "def remove(s):\r\n  return s[1:]",
    "test_setup_code": "",
    "test_list": ['assert remove("ab") == "b"', 'assert len(remove("ab")) == 1'],
}


def write(path: Path, *rows: dict[str, Any]) -> str:
    write_jsonl(path, rows)
    return str(path)


def test_a_check_may_call_functions_of_the_prompt_and_calls_the_entry_point(tmp_path: Path) -> None:
    [row] = problems_with_tests("test", write(tmp_path / "p.jsonl", HUMANEVAL), "check")
    helper, test, call = row["tests"]["code"]
    assert (test, call, row["tests"]["kind"]) == (HUMANEVAL["test"], "check(root)", "statements")
    names: dict[str, Any] = {}
    exec(helper, names)
    assert names["poly"](0.5) == 0
    own = {"poly": "mine"}
    exec(helper, own)
    assert own["poly"] == "mine"
    [row] = problems_with_tests(
        "test", write(tmp_path / "q.jsonl", HUMANEVAL | {"test": f"{HUMANEVAL['test']}\ncheck(root)"}), "check"
    )
    assert len(row["tests"]["code"]) == 2  # it calls itself


def test_problems_whose_libraries_are_missing_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(tested_rows, "say", said.append)
    missing = BIG | {"task_id": "BigCodeBench/1", "libs": "['json', 'no_such_library']"}
    rows = problems_with_tests("test", write(tmp_path / "p.jsonl", missing, BIG), "unittest", BIG_FIELDS)
    assert [row["task_id"] for row in rows] == ["BigCodeBench/0"]
    assert said == ["1 of 2 problems left out; they need no_such_library, which are not installed"]


def test_mbpp_has_the_prompts_of_the_paper(tmp_path: Path) -> None:
    place = write(tmp_path / "mbpp.jsonl", MBPP, MBPP | {"task_id": 511})
    [row] = mbpp_problems("test", place, {"test": [[11, 510]]})
    text = f'"""\n{MBPP["text"]}\n' + "\n".join(MBPP["test_list"])
    assert (row["task_id"], row["entry_point"], row["prompt"]) == ("Mbpp/11", "remove", f'{text}\n"""\n')
    assert row["canonical_solution"] == "def remove(s):\n  return s[1:]\n"
    checked = {"task_id": 12, "prompt": "Say.", "code": "def f(): pass", "test_list": ["assert f() is math"]}
    [row] = mbpp_problems(
        "all", write(tmp_path / "s.jsonl", checked | {"test_imports": ["import math"]}), {"all": None}, 0
    )
    assert (row["prompt"], row["tests"]["code"]) == ('"""\nSay.\n"""\n', ["import math\n", "assert f() is math"])
    with pytest.raises(UserError, match="benchmark mbpp has no train split, only test"):
        mbpp_problems("train", place, {"test": None})
    with pytest.raises(UserError, match="row 1 is no problem of MBPP: KeyError 'test_list'"):
        mbpp_problems("test", write(tmp_path / "x.jsonl", {"task_id": 1}), {"test": None})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "nose"}, "unknown benchmark.problems.kind 'nose'"),
        ({"kind": "pytest", "fields": {"tests": "x"}}, "unknown field in benchmark.problems.fields 'tests'"),
        ({"kind": "pytest", "fields": {"test": "spec"}}, "row 1 lacks 'spec'.*set benchmark.problems.fields"),
    ],
)
def test_malformed(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        problems_with_tests("test", write(tmp_path / "p.jsonl", HUMANEVAL), **options)


def test_names_of_tasks_may_be_made_of_fields(tmp_path: Path) -> None:
    fields = {"task_id": "Mine/{number}", "prompt": "{title}: {text}", "test": "spec"}
    row = {"number": 3, "title": "A", "text": "B", "spec": "def test(): pass"}
    [problem] = problems_with_tests("test", write(tmp_path / "p.jsonl", row), "pytest", fields)
    assert (problem["task_id"], problem["prompt"], problem["entry_point"]) == ("Mine/3", "A: B", "")


def test_programs_of_each_form(sandbox: Sandbox, tmp_path: Path) -> None:  # noqa: F811
    """Whole programs and continuations; a program without its imports is right only where the form says so."""
    rows = problems_with_tests("test", write(tmp_path / "h.jsonl", HUMANEVAL), "check")
    plain = problems_with_tests("test", write(tmp_path / "b.jsonl", BIG), "unittest", BIG_FIELDS)
    kind = BIG | {"task_id": "BigCodeBench/1"}
    rows += [*plain, *problems_with_tests("test", write(tmp_path / "c.jsonl", kind), "unittest", BIG_FIELDS, True)]
    rows += mbpp_problems("test", write(tmp_path / "m.jsonl", MBPP), {"test": None})
    bare = "def task_func(x):\n    return json.dumps(x)\n"
    samples = [
        ("HumanEval/32", "completion", "    return 0.25\n"), ("HumanEval/32", "solution", "def root(x): return 0\n"),
        ("HumanEval/32", "solution", "def root(x): return 2\n"), ("BigCodeBench/0", "solution", bare),
        ("BigCodeBench/1", "solution", bare), ("BigCodeBench/0", "completion", BIG["canonical_solution"]),
        ("Mbpp/11", "solution", "def remove(s): return s[1:]"), ("Mbpp/11", "solution", "def remove(s): return ['b']"),
    ]  # fmt: skip
    answers = [{"task_id": task, field: text} for task, field, text in samples]
    results = score_programs(read_problems(rows), answers, sandbox, tmp_path / "cache")
    assert [result.plus for result in results] == ["pass", "pass", "fail", "fail", "pass", "pass", "pass", "fail"]
    assert results[-1].detail == """assert remove("ab") == "b"; got ['b']"""


def test_without_added_tests_there_is_one_metric(tmp_path: Path) -> None:
    rows = mbpp_problems("test", write(tmp_path / "m.jsonl", MBPP), {"test": None})
    benchmark = CodeBenchmark("m", lambda split: rows, Decoding())
    scores = benchmark.score(
        [Sample("Mbpp/11", "", "x")], "test", lambda *rest: [ProgramResult("Mbpp/11", 0, "pass", "pass")]
    )
    assert [(score.metric, score.value) for score in scores] == [("pass@1", 1.0)]
    assert benchmark.definitions == {"pass@1": "share of problems whose program passes all tests"}
