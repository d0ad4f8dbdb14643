"""EvalPlus's form of tests: lists of arguments, whose expected outputs a reference solution gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from src.evaluation.grading.forms.expected_outputs import ExpectedOutputs, expected_outputs
from src.evaluation.grading.forms.outcome import Outcome
from src.evaluation.grading.forms.problems import Problem
from src.evaluation.grading.forms.result import PASS
from src.evaluation.grading.forms.run_tests import run_suite
from src.evaluation.sandbox.pool import Sandbox
from src.evaluation.sandbox.worker import Worker


@dataclass(frozen=True)
class InputLists:
    """A problem with its expected outputs.

    Attributes:
        problem: The problem.
        expected: Outputs of the reference solution.
        cache: Directory of expected outputs; None: the user's cache directory.
        modules: Imported by the sandbox before its first program.
    """

    problem: Problem
    expected: ExpectedOutputs
    cache: Path | None
    modules: frozenset[str] = frozenset()

    @property
    def seconds(self) -> float:
        """CPU seconds of the reference solution."""
        return self.expected.seconds

    def run(self, worker: Worker, candidates: tuple[str, ...], sandbox: Sandbox) -> Outcome:
        """Run a program on the base inputs and, if it passes, on the plus inputs."""
        problem, expected = self.problem, self.expected
        base = last = run_suite(worker, candidates, problem, False, expected.base, sandbox, self.cache)
        name = "base"
        if base.status == PASS:
            last = run_suite(worker, candidates, problem, True, expected.plus, sandbox, self.cache)
            name = "plus"
        return Outcome(base, last, f"{name}: {last.why}" if last.why else "")


def prepare_input_lists(problems: Sequence[Problem], sandbox: Sandbox, cache: Path | None) -> list[InputLists]:
    """Run the reference solutions, or read their outputs from `cache`.

    Raises:
        UserError: A reference solution fails on its own inputs.
    """
    expected = expected_outputs(problems, sandbox, cache)
    return [InputLists(problem, outputs, cache) for problem, outputs in zip(problems, expected, strict=True)]
