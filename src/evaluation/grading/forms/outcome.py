"""Form of tests: how a problem's tests run a program, and what that says about it.

Another form is a type of problem (`TestedProblem`), a type of its tests that can run (`RunnableTests`), and an entry in
`registry.FORMS` with the two functions that make them. Rows of such problems say `tests: {form: NAME, ...}`. Everything
else (answers and their sanitizing, repetition of doubtful programs, verdict files, pass@k) is the same for all forms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from src.evaluation.grading.forms.result import SuiteResult
from src.evaluation.sandbox.pool import Sandbox
from src.evaluation.sandbox.worker import Worker


@dataclass(frozen=True)
class Outcome:
    """Result of a program on all tests of its problem.

    Attributes:
        base: On the original tests.
        plus: On original and added tests together; `base` where there are no added ones.
        detail: Reason for a failure, for people; empty if it passed.
    """

    base: SuiteResult
    plus: SuiteResult
    detail: str = ""


class TestedProblem(Protocol):
    """A problem that has tests.

    Attributes:
        task_id: Its name, unique in a benchmark.
        prompt: Text that a program may continue.
        entry_point: Name that a program defines; empty: any program will do.
        form: Name of its form in `registry.FORMS`.
    """

    @property
    def task_id(self) -> str: ...
    @property
    def prompt(self) -> str: ...
    @property
    def entry_point(self) -> str: ...
    @property
    def form(self) -> str: ...


class RunnableTests(Protocol):
    """Tests of a problem, ready to run any number of programs.

    Attributes:
        seconds: CPU time of the reference solution: slow problems start first.
        modules: Imported by the sandbox before its first program.
    """

    @property
    def seconds(self) -> float: ...
    @property
    def modules(self) -> frozenset[str]: ...

    def run(self, worker: Worker, candidates: tuple[str, ...], sandbox: Sandbox) -> Outcome:
        """Run the first of `candidates` that compiles in `worker`, under the limits of `sandbox`."""


class TestForm(NamedTuple):
    """Functions of a form.

    Attributes:
        problem: Makes a problem of a row (in the format of `evaluation.benchmarks`); raises `rows.Defect`, or
            `KeyError` for a missing field.
        prepare: Makes the tests of several problems runnable, with what their reference solutions say (which run in
            trusted jobs, and whose results may be kept in a directory).
    """

    problem: Callable[[dict[str, Any]], TestedProblem]
    prepare: Callable[[Sequence[Any], Sandbox, Path | None], Sequence[RunnableTests]]
