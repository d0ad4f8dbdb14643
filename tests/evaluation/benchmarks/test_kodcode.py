from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from src.data.sources import RecordSource
from src.evaluation.benchmarks.code import CodeBenchmark
from src.evaluation.benchmarks.kodcode import kodcode_problems
from src.evaluation.generators.samples import Decoding
from src.evaluation.grading.forms.registry import read_problems
from src.evaluation.grading.grade import score_programs
from src.evaluation.sandbox.pool import Sandbox
from src.utils.errors import UserError
from src.utils.jsonl import write_jsonl
from tests.data.shared import needs_shared
from tests.evaluation.sandbox.conftest import sandbox  # noqa: F401 (a fixture)
from tests.stages.study_world import lay_out

TESTS = """import pytest
from solution import add

def test_add():
    assert add(1, 2) == 3
    with pytest.raises(TypeError):
        add(1, None)
"""
ROW = {
    "question_id": "q1",
    "question": "Add \\(a\\) and b.",
    "solution": "def add(a, b=1):\n    return a + b",
    "test": TESTS,
}


def problems(tmp_path: Path, *rows: dict[str, Any], held_out: float = 1.0) -> list[dict[str, Any]]:
    write_jsonl(tmp_path / "train.jsonl", rows)
    return kodcode_problems("validation", f"{tmp_path}/{{split}}*.jsonl", held_out)


def test_a_row_becomes_a_problem_with_its_own_tests(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, ROW)
    assert problem == {
        "task_id": "KodCode/q1",
        "prompt": 'r"""\nAdd \\(a\\) and b.\ndef add(a, b=1)\nassert add(1, 2) == 3\n"""\n',
        "entry_point": "add",
        "canonical_solution": "def add(a, b=1):\n    return a + b\n",
        "tests": {"form": "python", "kind": "pytest", "code": [TESTS]},
    }


def test_the_prompt_shows_heads_that_the_question_does_not_name(tmp_path: Path) -> None:
    question = "Write `add(a, b)` and a stack."
    solution = f"class Stack:\n    def push(self, x): ...\n{ROW['solution']}\ndef unused(): ..."
    tests = "def test_all():\n    Stack().push(1)\n    assert add(1) == 2, 'no'\n"
    [problem] = problems(tmp_path, ROW | {"question": question, "solution": solution, "test": tests})
    assert problem["prompt"] == f'"""\n{question}\nclass Stack\nassert add(1) == 2, \'no\'\n"""\n'
    assert problem["entry_point"] == ""  # several: the tests need them all


@pytest.mark.parametrize(
    "change",
    [
        {"test": "def test_other():\n    assert other(1) == 2\n"},  # of something else
        {"test": "assert add(1, 2) == 3\n"},  # no test function
        {"test": "import timeit\n" + TESTS},  # of the machine
        {"test": "def test_it(: assert add(1)"},
        {"solution": "import requests\n" + ROW["solution"]},
        {"solution": "import no_such_library\n" + ROW["solution"]},
        {"solution": "from . import add\n" + ROW["solution"]},
        {"solution": None},
    ],
    ids=str,
)
def test_other_rows_are_left_out(tmp_path: Path, change: dict[str, Any]) -> None:
    assert [row["task_id"] for row in problems(tmp_path, ROW | change, ROW | {"question_id": "q2"})] == ["KodCode/q2"]


def test_only_rows_that_training_holds_out(tmp_path: Path) -> None:
    rows = [ROW | {"question_id": f"q{number}", "question": f"Add a and b, {number}."} for number in range(200)]
    few = problems(tmp_path, *rows, held_out=0.1)
    source = RecordSource(
        "codegen", f"{tmp_path}/{{split}}*.jsonl", "{question}", "solution", id="question_id", held_out=0.1
    )
    trained = {row.id for row in source.examples("train")}
    assert {row["task_id"] for row in few} == {f"KodCode/{row.id}" for row in source.examples("validation")}
    assert not {row["task_id"].removeprefix("KodCode/") for row in few} & trained
    fewer = {row["task_id"] for row in problems(tmp_path, *rows, held_out=0.05)}
    assert fewer < {row["task_id"] for row in few}  # held out of 10% means held out of 5%, too


def test_rows_are_read_again_when_their_file_changes(tmp_path: Path) -> None:
    assert len(problems(tmp_path, ROW)) == 1
    assert len(problems(tmp_path, ROW, ROW | {"question_id": "q2"})) == 2


def test_there_is_no_test_split(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="benchmark kodcode has no test split, only validation"):
        kodcode_problems("test", f"{tmp_path}/*.jsonl", 0.01)


@needs_shared
@pytest.mark.slow
def test_the_solutions_of_real_rows_pass(
    sandbox: Sandbox,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """230 of the 232 published rows of the authors' pipeline become problems; two measure time."""
    lay_out(tmp_path)
    monkeypatch.chdir(tmp_path)
    rows = kodcode_problems("validation", "data/kodcode/{split}*.jsonl", 1.0)
    benchmark = CodeBenchmark("kodcode", lambda split: rows, Decoding(), splits=["validation"])
    assert len(benchmark.prompts("validation")) == len(rows) == 230
    answers = [{"task_id": row["task_id"], "solution": row["canonical_solution"]} for row in rows]
    results = score_programs(read_problems(rows), answers, sandbox, tmp_path / "truth")
    assert Counter(result.plus for result in results) == {"pass": 230}
