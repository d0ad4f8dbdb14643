# ruff: noqa: E501 (tables)
"""Original tests of HumanEval and MBPP on reference solutions and published answers (minutes: `-m slow`)."""

from __future__ import annotations

import marshal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from src.evaluation.benchmarks.mbpp import mbpp_problems
from src.evaluation.benchmarks.tested_rows import problems_with_tests
from src.evaluation.grading.forms.registry import read_problems
from src.evaluation.grading.grade import score_programs
from src.evaluation.grading.programs import answer_of_row
from src.evaluation.grading.results import flaky_tasks
from src.evaluation.sandbox import protocol
from src.evaluation.sandbox.jobs import Frame, Job
from src.evaluation.sandbox.pool import Sandbox
from src.evaluation.sandbox.worker import Worker
from tests.evaluation.grading.test_published import COUNTS, data, passed, published
from tests.evaluation.grading.test_published import sandbox as sandbox  # (a fixture)

pytestmark = pytest.mark.slow
FILES = {
    "humaneval": ("humaneval/HumanEval.jsonl.gz", 164),
    "mbpp": ("mbpp/mbpp.jsonl.gz", 974),
    "checked mbpp": ("mbpp/sanitized-mbpp.json", 427),
}
# Why a program passes the original assertions and fails in EvalPlus's file on the base inputs, or the reverse.
VALUE = "MBPP+'s reference gives another value than the assertion"
INPUT = "MBPP+'s base inputs are not those of the assertions"
JSON = "EvalPlus's inputs are JSON: sets became lists, the key 5 became '5'"
SETS = "the assertion leaves the order free, which the file's EvalPlus did not"
CLOSE = "the assertion has a tolerance (or the program equals it), the file's EvalPlus compared the last bit"
LIMIT = "slower than EvalPlus's time limit for one input, within ours for all tests"
ZERO = "the assertion accepts any zero of the polynomial"
REASONS = {
    "HumanEval/95": JSON, "HumanEval/32": ZERO, "Mbpp/115": JSON, "Mbpp/123": LIMIT, "Mbpp/312": CLOSE, "Mbpp/783": CLOSE,
    **dict.fromkeys(("Mbpp/87", "Mbpp/223", "Mbpp/612", "Mbpp/780"), INPUT),
    **dict.fromkeys(("Mbpp/2", "Mbpp/140", "Mbpp/232"), SETS),
    **dict.fromkeys((f"Mbpp/{number}" for number in (117, 143, 164, 229, 249, 295, 396, 400, 431, 442, 461, 574)), VALUE),
}  # fmt: skip
# Numbers of passing programs: original tests, EvalPlus's file.
PASSES = {
    ("qwen", "humaneval"): (72, 72), ("aigcodegeek", "humaneval"): (135, 135), ("codet5_2b", "humaneval"): (40, 40),
    ("llama_7b_hf", "humaneval"): (19, 19), ("phi_1", "humaneval"): (78, 78),
    ("qwen", "mbpp"): (272, 276), ("aigcodegeek", "mbpp"): (305, 310),
}  # fmt: skip


def problems(name: str) -> list[dict[str, Any]]:
    path = str(data(FILES[name][0]))
    return (
        problems_with_tests("test", path, "check") if name == "humaneval" else mbpp_problems("all", path, {"all": None})
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("times")


@pytest.mark.parametrize("name", FILES)
def test_reference_solutions_pass(name: str, sandbox: Sandbox, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = problems(name)
    field = "completion" if name == "humaneval" else "solution"
    samples = [{"task_id": row["task_id"], field: row["canonical_solution"]} for row in rows]
    results = score_programs(read_problems(rows), samples, sandbox, cache)
    assert len(results) == FILES[name][1]
    assert [(result.task_id, result.detail) for result in results if result.plus != "pass"] == []
    assert flaky_tasks(results) == []
    assert "fail their own tests" not in capsys.readouterr().err


@pytest.mark.parametrize(("model", "dataset"), COUNTS)
def test_published_answers(model: str, dataset: str, sandbox: Sandbox, cache: Path) -> None:
    """Verdicts are those of program and tests as one script, and differ from EvalPlus's for known reasons."""
    samples, theirs = published(model, dataset)
    names = {sample["task_id"] for sample in samples}
    rows = [
        row for row in problems("humaneval" if dataset == "humaneval" else "checked mbpp") if row["task_id"] in names
    ]
    results = score_programs(read_problems(rows), samples, sandbox, cache)
    ours = {result.task_id: result.plus == "pass" for result in results}
    assert ours == as_one_script(rows, samples, sandbox)
    base = {task: passed(theirs[task])[0] for task in ours}
    assert {task for task in ours if ours[task] != base[task]} <= set(REASONS)
    assert (sum(ours.values()), sum(base.values())) == PASSES[model, dataset]


def as_one_script(
    rows: Sequence[dict[str, Any]], samples: Sequence[dict[str, Any]], sandbox: Sandbox
) -> dict[str, bool]:
    """Task -> a text of program and tests runs to its end, as in the authors' own harnesses."""
    by_id = {row["task_id"]: row for row in rows}

    def run(worker: Worker, sample: dict[str, Any]) -> bool:
        row = by_id[sample["task_id"]]
        texts = answer_of_row(sample, row["prompt"], row["entry_point"]).texts
        parts = [*row["tests"]["code"], "def reached_the_end(): return True"]
        job = Job(
            candidates=tuple("\n".join([text, *parts]) for text in texts),
            entry_point="reached_the_end",
            inputs=marshal.dumps([[]], protocol.MARSHAL_VERSION),
            cpu_limits=(10.0,),
            cpu_total=10.0,
            memory=1 << 32,
            inline=1 << 16,
        )
        frames: list[Frame] = []
        worker.run(job, lambda frame: frames.append(frame) is None)
        return [frame.kind for frame in frames] == [protocol.PLAIN]

    found = sandbox.map(run, samples, {"numpy"})
    return {sample["task_id"]: right for sample, right in zip(samples, found, strict=True)}
