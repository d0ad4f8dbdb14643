"""Verdicts on published model outputs and on the reference solutions of the real benchmarks (minutes: `-m slow`)."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tarfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from src.evaluation.grading.forms.problems import load_problems
from src.evaluation.grading.grade import NEVER, SANITIZE, score_programs
from src.evaluation.grading.results import ProgramResult, flaky_tasks
from src.evaluation.grading.sanitize_in_sandbox import sanitize_in_sandbox
from src.evaluation.sandbox.pool import Sandbox
from src.utils.errors import UserError
from src.utils.jsonl import read_jsonl

pytestmark = pytest.mark.slow
DATA = Path(__file__).resolve().parents[3] / ".." / "shared" / "data"
OUTPUTS = DATA / "evalplus_outputs"
PROBLEMS = {"humaneval": "humaneval/HumanEvalPlus-v0.1.9.jsonl.gz", "mbpp": "mbpp/MbppPlus-v0.1.0.jsonl.gz"}

# Why a verdict of ours is not the published one. EvalPlus 0.3.1, run on these programs, agrees with ours on all but
# HumanEval/32, which it can never pass: its check of a zero skips the line that counts the input as done.
AS_SETS = "the file's EvalPlus compared lists where 0.3.1 compares sets"
LAST_BIT = "the file's EvalPlus compared floats exactly where 0.3.1 has a tolerance; they differ in the last bit"
ANY_ZERO = "the file's EvalPlus accepted only the reference's own zero of a polynomial that has several"
DIFFERENCES: dict[tuple[str, str], dict[str, str]] = {
    ("qwen", "mbpp"): dict.fromkeys(("Mbpp/2", "Mbpp/232", "Mbpp/249", "Mbpp/579"), AS_SETS),
    ("aigcodegeek", "humaneval"): {"HumanEval/21": LAST_BIT, "HumanEval/32": ANY_ZERO},
    ("aigcodegeek", "mbpp"): dict.fromkeys(("Mbpp/2", "Mbpp/140", "Mbpp/249", "Mbpp/579"), AS_SETS)
    | dict.fromkeys(
        ("Mbpp/14", "Mbpp/276", "Mbpp/312", "Mbpp/441", "Mbpp/606", "Mbpp/746", "Mbpp/783"), LAST_BIT
    ),
}  # fmt: skip
COUNTS = {  # ours: base, plus
    ("qwen", "humaneval"): (72, 60),
    ("qwen", "mbpp"): (279, 236),
    ("aigcodegeek", "humaneval"): (136, 126),
    ("aigcodegeek", "mbpp"): (314, 268),
    ("codet5_2b", "humaneval"): (40, 36),
    ("llama_7b_hf", "humaneval"): (19, 17),
    ("phi_1", "humaneval"): (78, 68),
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    try:
        with Sandbox() as opened:
            yield opened
    except UserError as error:
        pytest.skip(str(error))


def data(path: str) -> Path:
    if not (DATA / path).exists():
        pytest.skip(f"needs ../shared/data/{path}")
    return DATA / path


def published(model: str, dataset: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Samples, and the results by task."""
    if model == "aigcodegeek":
        return _archive(data(f"evalplus_outputs/aigcodegeek-ds-6.7b/{dataset}.tar.gz"))
    folder, name = ("qwen2.5-coder-1.5b-base", f"{dataset}_generated")
    if model != "qwen":
        folder, name = "small_models_humaneval", f"{model}_samples"
    samples = read_jsonl(data(f"evalplus_outputs/{folder}/{name}.jsonl.gz"))
    with gzip.open(data(f"evalplus_outputs/{folder}/{name}_eval_results.json.gz")) as file:
        return samples, json.load(file)["eval"]


def _archive(path: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    samples, results = [], {}
    with tarfile.open(path) as archive:
        for member in archive:
            file = archive.extractfile(member)
            if member.name.endswith(".py"):
                assert file is not None
                task = Path(member.name).parent.name.replace("_", "/")
                samples.append({"task_id": task, "solution": file.read().decode()})
            elif member.name.endswith("eval_results.json"):
                assert file is not None
                results = json.load(file)["eval"]
    return samples, results


def passed(result: Any) -> tuple[bool, bool]:
    """Base, and base and plus, in either of EvalPlus's two formats."""
    if isinstance(result, dict):
        base, plus = (result[suite][0][0] in ("pass", "success") for suite in ("base", "plus"))
    else:
        base, plus = (result[0][f"{suite}_status"] == "pass" for suite in ("base", "plus"))
    return base, base and plus


# The files were graded as they stand. Sanitized in either way, one more program passes its base tests: it is right, but
# the limit on its length cut it off in its own test function.
CUT_OFF = {("qwen", "mbpp"): {"Mbpp/585"}}


@pytest.mark.parametrize("sanitize", SANITIZE)
@pytest.mark.parametrize(("model", "dataset"), COUNTS)
def test_published_verdicts(
    model: str, dataset: str, sanitize: str, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> None:
    samples, results = published(model, dataset)
    problems = load_problems(data(PROBLEMS[dataset]))
    assert len(samples) == len(results) == len(problems)
    verdicts = score_programs(problems, samples, sandbox, tmp_path_factory.getbasetemp() / "truth", sanitize)
    different = {v.task_id for v in verdicts if passed(results[v.task_id]) != (v.base == "pass", v.plus == "pass")}
    rescued = set() if sanitize == NEVER else CUT_OFF.get((model, dataset), set())
    assert different == set(DIFFERENCES.get((model, dataset), {})) | rescued
    base, plus = COUNTS[model, dataset]
    assert counts(verdicts) == (base + len(rescued), plus)
    assert flaky_tasks(verdicts) == []


@pytest.mark.parametrize(("model", "dataset"), COUNTS)
def test_sanitizing_published_answers(model: str, dataset: str, sandbox: Sandbox) -> None:
    """The texts themselves, and after their prompts, as EvalPlus's own sanitizer reduces them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from evalplus.sanitize import sanitize

    samples, _ = published(model, dataset)
    problems = {problem.task_id: problem for problem in load_problems(data(PROBLEMS[dataset]))}
    texts = [
        (text, problem.entry_point)
        for row in samples
        for problem in [problems[row["task_id"]]]
        for answer in [row.get("solution", row.get("completion"))]
        for text in (answer, f"{problem.prompt}\n{answer}")
    ]
    reduced = sanitize_in_sandbox(texts, sandbox)
    assert reduced == [sanitize(text, entry_point) for text, entry_point in texts]
    assert any(after != before for after, (before, _) in zip(reduced, texts, strict=True))


def counts(verdicts: list[ProgramResult]) -> tuple[int, int]:
    return sum(v.base == "pass" for v in verdicts), sum(v.plus == "pass" for v in verdicts)


def references(path: str) -> tuple[list[Any], list[dict[str, Any]]]:
    problems = load_problems(data(path))
    return problems, [{"task_id": p.task_id, "solution": p.prompt + p.canonical_solution} for p in problems]


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "both cores loaded"])
@pytest.mark.parametrize(
    ("path", "count"),
    [
        ("humaneval/HumanEvalPlus-v0.1.10.jsonl.gz", 164),
        ("humaneval/HumanEvalPlus-v0.1.9.jsonl.gz", 164),
        ("mbpp/MbppPlus-v0.2.0.jsonl.gz", 378),
        ("mbpp/MbppPlus-v0.1.0.jsonl.gz", 399),
    ],
)
def test_reference_solutions_pass(
    path: str, count: int, busy: bool, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> None:
    problems, samples = references(path)
    burners = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy * (os.cpu_count() or 1))
    ]
    try:
        verdicts = score_programs(problems, samples, sandbox, tmp_path_factory.getbasetemp() / "truth")
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
    assert [v for v in verdicts if v.plus != "pass"] == []
    assert counts(verdicts) == (count, count)


def test_mbpp_clean(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The 270 tasks outside MBPP's train split: the published verdicts on them, but for the known differences."""
    problems = load_problems(data("mbpp/MbppPlus-v0.2.0.jsonl.gz"))
    clean = [problem for problem in problems if not 601 <= int(problem.task_id.removeprefix("Mbpp/")) <= 974]
    names = {problem.task_id for problem in clean}
    samples, results = published("qwen", "mbpp")
    rows = [row for row in samples if row["task_id"] in names]
    verdicts = score_programs(clean, rows, sandbox, tmp_path_factory.getbasetemp() / "truth")
    different = {v.task_id for v in verdicts if passed(results[v.task_id]) != (v.base == "pass", v.plus == "pass")}
    assert different == set(DIFFERENCES["qwen", "mbpp"]) & names
    assert len(verdicts) == 270
    # base: 2 and 232 more than the file; plus: 2 and 579 more
    theirs = [passed(results[name]) for name in sorted(names)]
    assert counts(verdicts) == (sum(base for base, _ in theirs) + 2, sum(plus for _, plus in theirs) + 2)
