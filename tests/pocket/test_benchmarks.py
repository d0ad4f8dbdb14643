"""The two benchmarks: their formats, and tests that tell right programs from wrong ones."""

from __future__ import annotations

import ast
import gzip
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from src.pocket.benchmarks import code_tokens, problems, summary_rows
from src.pocket.checks import NEAR_MISSES
from src.pocket.corpus import corpus
from tests.pocket.conftest import Run

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
HELD_OUT = ("validation", "test")


def first_row(path: Path) -> dict[str, Any]:
    if not path.exists():
        pytest.skip(f"needs {path.name} of the shared data")
    with gzip.open(path, "rt") as file:
        row: dict[str, Any] = json.loads(file.readline())
    return row


def agrees(problem: dict[str, Any], got: list[Any], expected: list[Any]) -> bool:
    if problem["atol"]:
        return all(
            isinstance(g, (int, float)) and abs(g - e) <= problem["atol"] for g, e in zip(got, expected, strict=True)
        )
    return got == expected


COMPARISONS = {ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Eq: ast.NotEq}


class Mutant(ast.NodeTransformer):
    """Change the nth place where a programmer may slip: a comparison, a sign, a constant, a condition."""

    def __init__(self, target: int) -> None:
        self.target, self.seen = target, -1

    def _here(self) -> bool:
        self.seen += 1
        return self.seen == self.target

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        swap = COMPARISONS.get(type(node.ops[0]))
        if swap is not None and self._here():
            return ast.Compare(node.left, [swap()], node.comparators)
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, int) and self._here():
            return ast.Constant(node.value + 1)
        return node

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        self.generic_visit(node)
        if node.ifs and self._here():
            return ast.comprehension(node.target, node.iter, [], node.is_async)
        return node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        self.generic_visit(node)
        return node.operand if isinstance(node.op, ast.USub) and self._here() else node


def mutants(source: str) -> Iterator[str]:
    target = 0
    while True:
        mutant = Mutant(target)
        tree = mutant.visit(ast.parse(source))
        if mutant.seen < target:
            return
        yield ast.unparse(ast.fix_missing_locations(tree))
        target += 1


@pytest.mark.parametrize("split", HELD_OUT)
def test_problems_have_evalplus_format(split: str, run: Run) -> None:
    found = problems(split, 150)
    assert len(found) == 150
    assert len({problem["task_id"] for problem in found}) == 150
    for problem in found:
        assert set(problem) == {
            *("task_id", "prompt", "entry_point", "canonical_solution"),
            *("base_input", "plus_input", "atol", "contract"),
        }
        assert problem["task_id"].startswith(f"Pocket/{split}/")
        assert problem["prompt"].startswith(f"def {problem['entry_point']}(")
        assert problem["prompt"].endswith('"""\n')
        assert json.loads(json.dumps(problem)) == problem
        assert len(problem["base_input"]) == 3
        assert len(problem["plus_input"]) >= 15
        inputs = problem["base_input"] + problem["plus_input"]
        guarded = problem["prompt"] + problem["contract"] + problem["canonical_solution"]
        plain = problem["prompt"] + problem["canonical_solution"]
        results = run(plain, problem["entry_point"], inputs)
        assert run(guarded, problem["entry_point"], inputs) == results
        assert not any(isinstance(result, str) and result.endswith("Error") for result in results)
        assert bool(problem["atol"]) == any(isinstance(result, float) for result in results)


def test_fields_are_those_of_the_real_files() -> None:
    humaneval = first_row(SHARED / "humaneval" / "HumanEvalPlus-v0.1.10.jsonl.gz")
    assert set(problems("test", 1)[0]) == set(humaneval) - {"test"}  # `test` serves EvalPlus's ancestor only
    codexglue = first_row(SHARED / "codexglue" / "python_valid_first120.jsonl.gz")
    row = summary_rows("validation", 1)[0]
    assert list(row) == list(codexglue)
    assert {key: type(value) for key, value in row.items()} == {key: type(value) for key, value in codexglue.items()}
    assert row["partition"] == codexglue["partition"]


@pytest.mark.parametrize("split", HELD_OUT)
def test_slips_in_the_canonical_solution_are_caught_and_some_by_the_plus_tests_alone(split: str, run: Run) -> None:
    total, caught, late = 0, 0, 0
    for problem in problems(split, 150):
        source, name = problem["prompt"] + problem["canonical_solution"], problem["entry_point"]
        base, plus = (run(source, name, problem[inputs]) for inputs in ("base_input", "plus_input"))
        for mutant in mutants(source):
            passes_base = agrees(problem, run(mutant, name, problem["base_input"]), base)
            passes_plus = passes_base and agrees(problem, run(mutant, name, problem["plus_input"]), plus)
            total, caught, late = total + 1, caught + (not passes_plus), late + (passes_base and not passes_plus)
    assert total > 300
    assert caught > 0.85 * total  # the rest mean the same: a bound that no value reaches, a slice from 0
    assert late > 0.1 * total


@pytest.mark.parametrize("split", HELD_OUT)
def test_every_base_input_catches_a_near_miss_and_the_plus_inputs_catch_one_that_all_let_through(split: str) -> None:
    compositions = corpus(0).compositions(split)
    for problem in problems(split, 150):
        right = compositions[int(problem["task_id"].rpartition("/")[2])]
        wrong = list(islice(right.variants(), NEAR_MISSES))
        late = wrong
        for arguments in problem["base_input"]:
            caught = [near for near in wrong if near.run(*arguments) != right.run(*arguments)]
            assert caught, problem["task_id"]
            late = [near for near in late if near not in caught]
        assert any(near.run(*each) != right.run(*each) for near in late for each in problem["plus_input"])


@pytest.mark.parametrize("split", HELD_OUT)
def test_summary_rows(split: str) -> None:
    rows = summary_rows(split, 150)
    assert len(rows) == 150
    assert len({row["url"] for row in rows}) == 150
    for row in rows:
        assert row["code"] == row["original_string"]
        function = ast.parse(row["code"]).body[0]
        assert isinstance(function, ast.FunctionDef)
        assert ast.get_docstring(function) == row["docstring"]
        assert '"""' not in "".join(row["code_tokens"])
        del function.body[0]
        assert code_tokens(ast.unparse(function))[:3] == row["code_tokens"][:3]
        assert row["docstring_tokens"][-1] == "."
        assert "".join(row["docstring_tokens"]) == row["docstring"].replace(" ", "")


def test_code_tokens_by_hand() -> None:
    assert code_tokens("def f(x):\n    return x ** 2\n") == ["def", "f", "(", "x", ")", ":", "return", "x", "**", "2"]


def test_the_count_is_an_upper_bound() -> None:
    assert len(problems("test", 10_000)) < 10_000
    assert [problem["task_id"] for problem in problems("test", 5)] == [
        problem["task_id"] for problem in problems("test", 10)[:5]
    ]
