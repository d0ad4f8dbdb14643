from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from src.evaluation.benchmarks.humanevalpack import describe_rows, fix_problems, regenerate_problems
from src.evaluation.grading.forms.registry import read_problems
from src.evaluation.grading.grade import score_programs
from src.evaluation.sandbox.pool import Sandbox
from src.utils.errors import UserError
from src.utils.jsonl import write_jsonl
from tests.evaluation.sandbox.conftest import sandbox  # noqa: F401 (a fixture)

ROW = {
    "task_id": "Python/0",
    "import": "from typing import List",
    "declaration": "def total(xs: List[int]) -> int:\n",
    "docstring": "Sum of xs.\n>>> total([1, 2])\n3",
    "canonical_solution": "    return sum(xs)\n",
    "buggy_solution": "    return sum(xs[1:])\n",
    "entry_point": "total",
    "test": "\n\nMETADATA = {}\n\ndef check(total):\n    assert total([1, 2]) == 3\n\ncheck(total)",
}
BUGGY = "from typing import List\ndef total(xs: List[int]) -> int:\n    return sum(xs[1:])\n"


def write(path: Path, *rows: dict[str, Any]) -> str:
    write_jsonl(path, rows)
    return str(path)


def test_prompts_of_bug_fixing(tmp_path: Path) -> None:
    place = write(tmp_path / "python.jsonl", ROW)
    [row] = fix_problems("test", place)
    assert row["prompt"] == f"{BUGGY}\n\n{ROW['test'].strip()}\n\n# Fix bugs in total.\n"
    assert (row["task_id"], row["entry_point"], len(row["tests"]["code"])) == ("Python/0", "total", 1)
    [row] = fix_problems("test", place, shown="docs")
    head, body = BUGGY[: BUGGY.index("    return")], BUGGY[BUGGY.index("    return") :]
    docstring = '    """Sum of xs.\n    >>> total([1, 2])\n    3\n    """\n'
    assert row["prompt"] == f"{head}{docstring}{body}\n\n# Fix bugs in total.\n"
    with pytest.raises(UserError, match=r"unknown benchmark.problems.shown 'both'.*docs, tests"):
        fix_problems("test", place, shown="both")


def test_explanations_are_the_prompts_of_the_second_run(tmp_path: Path) -> None:
    place = write(tmp_path / "python.jsonl", ROW)
    assert describe_rows("test", place)[0]["code"] == BUGGY.replace("xs[1:]", "xs")
    told = write(tmp_path / "s.jsonl", {"task_id": "humanevalpack_describe/0", "prompt": "", "completion": " Adds.\n"})
    [row] = regenerate_problems("test", place, told)
    assert row["prompt"] == (
        "Adds.\n\nWrite functional code in Python according to the description. It begins with:\n"
        "def total(xs: List[int]) -> int:"
    )
    with pytest.raises(UserError, match="explanations is missing: run benchmark=humanevalpack_describe first"):
        regenerate_problems("test", place)
    other = write(tmp_path / "o.jsonl", {"task_id": "humanevalpack_describe/7", "prompt": "", "completion": "x"})
    with pytest.raises(UserError, match="lacks answers: humanevalpack_describe/0"):
        regenerate_problems("test", place, other)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"task_id": "Python/0"}, "no row of HumanEvalPack: it lacks declaration"),
        (ROW | {"task_id": "Java/0"}, "Java/0 is not of HumanEvalPack's Python part"),
    ],
)
def test_malformed(tmp_path: Path, row: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        fix_problems("test", write(tmp_path / "python.jsonl", row))


def test_the_bug_fails_and_its_correction_passes(sandbox: Sandbox, tmp_path: Path) -> None:  # noqa: F811
    rows = fix_problems("test", write(tmp_path / "python.jsonl", ROW))
    fixed = f"Here it is:\n```python\n{BUGGY.replace('xs[1:]', 'xs')}```\n"
    samples = [{"task_id": "Python/0", "solution": text} for text in (BUGGY, rows[0]["canonical_solution"], fixed)]
    results = score_programs(read_problems(rows), samples, sandbox, tmp_path / "cache")
    assert [result.plus for result in results] == ["fail", "pass", "pass"]
    assert results[0].detail == "assert total([1, 2]) == 3; got 2"
