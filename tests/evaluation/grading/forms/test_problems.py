from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from src.evaluation.grading.forms.problems import Problem, benchmark_path, load_problems
from src.evaluation.grading.forms.registry import read_problems
from src.utils.errors import UserError

DATA = Path(__file__).resolve().parents[4] / ".." / "shared" / "data"
ROW: dict[str, Any] = {
    "task_id": "T/0",
    "prompt": "def f(x):\n",
    "entry_point": "f",
    "canonical_solution": "    return x\n",
    "base_input": [[1]],
    "plus_input": [[2], [3]],
    "atol": 0,
    "contract": "",
}


def rows_of(path: str) -> Path:
    if not (DATA / path).exists():
        pytest.skip(f"needs ../shared/data/{path}")
    return DATA / path


def test_fields() -> None:
    [problem] = read_problems([ROW])
    assert problem == Problem("T/0", "def f(x):\n", "f", "    return x\n", [[1]], [[2], [3]], 0.0)
    assert problem.dataset == "t"


def test_file(tmp_path: Path) -> None:
    path = tmp_path / "problems.jsonl"
    path.write_text(json.dumps(ROW) + "\n")
    assert load_problems(path) == read_problems([ROW])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "it is empty"),
        ([{"task_id": "T/0"}], r"row 1 \(T/0\) lacks prompt, entry_point, canonical_solution, base_input, plus_input"),
        ([{}], "row 1 lacks task_id, prompt"),
        ([ROW, ROW], r"row 2 \(T/0\) repeats a task_id"),
    ],
)
def test_malformed(rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_problems(rows)


def test_fingerprint_follows_the_content() -> None:
    [problem] = read_problems([ROW])
    assert problem.fingerprint() == read_problems([dict(ROW)])[0].fingerprint()
    for change in ({"plus_input": [[2], [4]]}, {"canonical_solution": "    return 1"}, {"atol": 1e-3}):
        assert read_problems([{**ROW, **change}])[0].fingerprint() != problem.fingerprint()


def test_where_the_problems_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for dataset, variable in (("humaneval", "HUMANEVAL_OVERRIDE_PATH"), ("mbpp", "MBPP_OVERRIDE_PATH")):
        monkeypatch.delenv(variable, raising=False)
        with pytest.raises(UserError, match=f"benchmark.problems=FILE or {variable}=FILE"):
            benchmark_path(dataset)
        monkeypatch.setenv(variable, "from/environment.jsonl")
        assert benchmark_path(dataset) == Path("from/environment.jsonl")
        assert benchmark_path(dataset, "given.jsonl") == Path("given.jsonl")


@pytest.mark.parametrize(
    ("file", "count", "base", "plus", "tolerant"),
    [
        ("humaneval/HumanEvalPlus-v0.1.10.jsonl.gz", 164, 1570, 122_683, 3),
        ("mbpp/MbppPlus-v0.2.0.jsonl.gz", 378, 1174, 39_841, 13),
    ],
)
def test_published_files(file: str, count: int, base: int, plus: int, tolerant: int) -> None:
    problems = load_problems(rows_of(file))
    assert len(problems) == count
    assert sum(len(problem.base_input) for problem in problems) == base
    assert sum(len(problem.plus_input) for problem in problems) == plus
    assert sum(problem.atol != 0 for problem in problems) == tolerant


@pytest.mark.parametrize("file", ["mbpp/MbppPlus-v0.2.0.jsonl.gz", "mbpp/MbppPlus-v0.1.0.jsonl.gz"])
def test_inputs_equal_those_of_evalplus(file: str) -> None:
    """All tuples, sets and complex numbers that EvalPlus's own loader restores."""
    from src.utils.jsonl import read_jsonl

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from evalplus.data.mbpp import mbpp_deserialize_inputs

    raw = read_jsonl(rows_of(file))
    for row, problem in zip(raw, load_problems(rows_of(file)), strict=True):
        for name, ours in (("base_input", problem.base_input), ("plus_input", problem.plus_input)):
            theirs = mbpp_deserialize_inputs(row["task_id"], row[name])
            assert repr([list(arguments) for arguments in ours]) == repr([list(arguments) for arguments in theirs])
