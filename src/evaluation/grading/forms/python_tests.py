"""Tests written in Python that run in the program's process: assertions, `check(candidate)`, pytest, unittest."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import marshal
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from src.evaluation.grading.forms.expected_outputs import default_cache
from src.evaluation.grading.forms.outcome import Outcome
from src.evaluation.grading.forms.result import (
    FAIL,
    FAILED_IN,
    LOAD_SECONDS,
    PASS,
    SCARCITY,
    TIMEOUT,
    Failure,
    SuiteResult,
)
from src.evaluation.grading.forms.rewrite import (
    assigned_attributes,
    defined_names,
    imported_names,
    statement_at,
    with_reports,
)
from src.evaluation.grading.forms.rows import Defect, fields_of
from src.evaluation.sandbox import protocol
from src.evaluation.sandbox.decode import Undecodable, decode
from src.evaluation.sandbox.jobs import End, Frame, Job
from src.evaluation.sandbox.pool import Sandbox
from src.evaluation.sandbox.worker import Worker, WorkerDied
from src.utils.errors import UserError, first_differences
from src.utils.files import read_json_object, sha256_json, write_json
from src.utils.parsing import parse
from src.utils.progress import say

PYTHON = "python"
KINDS = STATEMENTS, PYTEST, UNITTEST = ("statements", "pytest", "unittest")
REQUIRED = ("task_id", "prompt", "entry_point", "canonical_solution")
REPORT_BYTES = 1 << 16
TESTS_LIMITS = 3.0  # all tests may take this many times the limit of one test
REFERENCE_SECONDS = 120.0
CACHE_VERSION = 1
# Third-party modules that are slow to import: the sandbox imports them once.
SLOW_MODULES = {"numpy", "pandas", "scipy", "sklearn", "matplotlib", "sympy"}
# Last of the tests in a second run of each program that passes: an honest one fails it.
IMPOSSIBLE = {
    STATEMENTS: "assert False",
    PYTEST: "def test_that_must_fail():\n    assert False",
    UNITTEST: "import unittest\n\nclass MustFail(unittest.TestCase):\n    def test_it(self):\n        assert False",
}
FORGED = "it passes a test that no program can pass: its results are forged"
PYTEST_MODULES = {"pytest", *(f"_pytest.{name}" for name in ("helpconfig", "setuponly", "setupplan", "skipping"))}
PYTEST_MODULES |= {f"_pytest.{name}" for name in ("threadexception", "unittest", "unraisableexception", "warnings")}


@dataclass(frozen=True)
class PythonProblem:
    """A problem whose tests are Python text.

    Attributes:
        task_id: Its name.
        prompt: Text that a program may continue.
        entry_point: Name that a program defines; empty: any program will do.
        canonical_solution: A whole program, or continues `prompt`; empty: there is none.
        kind: `statements`: texts that run one after another where the program's names are known; `pytest` and
            `unittest`: a module of tests where the same names are known, and the program can be imported as `solution`.
        code: The texts; one for `pytest` and `unittest`.
        before: Runs before each program, with the same names.
    """

    task_id: str
    prompt: str
    entry_point: str
    canonical_solution: str
    kind: str
    code: tuple[str, ...]
    before: str = ""
    form: ClassVar[str] = PYTHON

    @property
    def reference(self) -> tuple[str, ...]:
        """Texts of the reference solution; empty: there is none."""
        solution = self.canonical_solution
        return (solution, self.prompt + solution) if solution.strip() else ()


def python_problem(row: dict[str, Any]) -> PythonProblem:
    """Build a problem of a row whose `tests` are `{form: python, kind: KIND, code: [TEXT, ...], before: TEXT}`.

    Raises:
        Defect: A field is missing, or the tests are no Python text.
    """
    fields, tests = fields_of(row, REQUIRED), row["tests"]
    kind, code = tests.get("kind"), tests.get("code")
    if kind not in KINDS:
        raise Defect(f"has tests of kind {kind!r}, expected one of {', '.join(KINDS)}")
    if not code or (kind != STATEMENTS and len(code) > 1):
        raise Defect(f"has {len(code or ())} texts of tests, expected {'one' if code else 'some'}")
    for text in code:
        if parse(text) is None:
            raise Defect(f"has tests that are no Python text: {text[:40]!r}")
    return PythonProblem(**fields, kind=kind, code=tuple(code), before=tests.get("before", ""))


@dataclass(frozen=True)
class PythonTests:
    """Tests of a problem with the CPU time of its reference solution (0: there is none, or it fails)."""

    problem: PythonProblem
    seconds: float = 0.0

    @cached_property
    def modules(self) -> frozenset[str]:
        """pytest or unittest, and what is slow to import of what the tests and the reference solution import."""
        own = PYTEST_MODULES if self.problem.kind == PYTEST else {"unittest", "unittest.mock"}
        texts = [*self.problem.code, *self.problem.reference[:1]]
        return frozenset(own.union(*map(_slow_imports, texts)))

    @cached_property
    def code(self) -> list[str]:
        """Texts of the tests as they run."""
        return [with_reports(text) for text in self.problem.code]

    def run(self, worker: Worker, candidates: tuple[str, ...], sandbox: Sandbox) -> Outcome:
        """Run the tests; a program that passes runs again, with a last test that must fail."""
        seconds = max(TESTS_LIMITS * sandbox.min_time_limit, sandbox.gt_time_limit_factor * self.seconds)
        memory = sandbox.memory_mb << 20
        result, _ = self._run(worker, candidates, self.code, seconds, memory)
        if result.status == PASS:
            again, _ = self._run(worker, candidates, self._impossible(), seconds, memory)
            result = SuiteResult(FAIL, FORGED) if again.status == PASS else result
        return Outcome(result, result, result.why)

    def run_reference(self, worker: Worker) -> tuple[SuiteResult, float]:
        """Run the tests on the reference solution, and return its result and CPU seconds."""
        return self._run(worker, self.problem.reference, self.code, REFERENCE_SECONDS, 1 << 33, trusted=True)

    def _impossible(self) -> list[str]:
        last = IMPOSSIBLE[self.problem.kind]
        return [*self.code, last] if self.problem.kind == STATEMENTS else [f"{self.code[0]}\n\n{last}\n"]

    def _run(
        self,
        worker: Worker,
        candidates: tuple[str, ...],
        code: list[str],
        seconds: float,
        memory: int,
        trusted: bool = False,
    ) -> tuple[SuiteResult, float]:
        problem = self.problem
        tests = {
            "kind": problem.kind,
            "code": code,
            "before": problem.before,
            "names": [name for text in code for name in defined_names(text)],
            "modules": [name for text in code for name in imported_names(text)],
            "assigned": [name for text in code for name in assigned_attributes(text)],
            "allows_any": any("ANY" in text for text in code),
        }
        job = Job(
            candidates=candidates,
            entry_point=problem.entry_point,
            inputs=marshal.dumps([[]], protocol.MARSHAL_VERSION),
            cpu_limits=(LOAD_SECONDS, seconds),
            cpu_total=LOAD_SECONDS + seconds,
            memory=memory,
            inline=REPORT_BYTES,
            trusted=trusted,
            tests=tests,
        )
        for _ in range(2):
            reader = _ReportReader(problem)
            try:
                end = worker.run(job, reader)
            except WorkerDied:
                continue
            return reader.conclude(end), reader.seconds
        return SuiteResult(FAIL, "the sandbox ended twice", doubtful=True), 0.0


class _ReportReader:
    """Takes the only frame of a program with tests: its report, or the reason why there is none."""

    def __init__(self, problem: PythonProblem) -> None:
        self.problem = problem
        self.seconds = 0.0
        self.result: SuiteResult | None = None

    def __call__(self, frame: Frame) -> bool:
        if self.result is not None:
            self.result = SuiteResult(FAIL, "more than one report")
            return False
        self.seconds = frame.seconds
        if frame.kind in protocol.FAILURES:
            why = frame.body.decode("utf-8", "replace")
            doubtful = frame.kind == protocol.HINDERED or frame.body.startswith(SCARCITY)
            self.result = SuiteResult(FAIL, why, doubtful, FAILED_IN.get(frame.kind, ""))
            return False
        try:
            report = decode(frame.kind, frame.body)
        except Undecodable:
            report = None
        self.result = self._judge(report)
        return self.result.status == PASS  # then nothing may follow, and the process must end

    def conclude(self, end: End) -> SuiteResult:
        """Return the result once the program has ended."""
        if self.result is not None:
            return self.result
        if end.reason in (protocol.CPU_LIMIT, protocol.WALL_LIMIT):
            return SuiteResult(TIMEOUT, f"tests: {end.reason}", doubtful=True)
        why = f"the program's process ended before its tests (wait status {end.status})"
        return SuiteResult(FAIL, why, doubtful=True)

    def _judge(self, report: Any) -> SuiteResult:
        try:
            passed, failure = report["passed"], report["failure"]
            if failure is None and passed > 0:
                return SuiteResult(PASS)
            return self._failure(**failure)
        except (TypeError, KeyError, ValueError, IndexError):
            return SuiteResult(FAIL, "a report in a wrong form")

    def _failure(self, test: str, chunk: int, line: int, error: str, got: str, expected: str) -> SuiteResult:
        statement = statement_at(self.problem.code[chunk], line) if line else ""
        where = ": ".join(part for part in (test, statement) if part)
        bare = error == "AssertionError: " or not error
        told = (f"got {got}" if got else "") if bare else error
        why = "; ".join(part for part in (where, told) if part) or "a test failed"
        doubtful = error.encode("utf-8", "replace").startswith(SCARCITY)
        return SuiteResult(FAIL, why[:1000], doubtful, failure=Failure(where, expected, got or error))


def _known_seconds(path: Path) -> float | None:
    """The seconds in a file of the cache; None if there is none, or it is damaged."""
    try:
        seconds = read_json_object(path)["seconds"]
    except (OSError, UserError, KeyError):
        return None
    return seconds if isinstance(seconds, float) and seconds >= 0 else None


def prepare_python_tests(problems: Sequence[PythonProblem], sandbox: Sandbox, cache: Path | None) -> list[PythonTests]:
    """Time the reference solutions, which limits programs, or read their times from `cache`.

    A reference solution that fails is reported; programs run on its problem's tests all the same.
    """
    paths = [_path(problem, cache) for problem in problems]
    known = {path: seconds for path in paths if (seconds := _known_seconds(path)) is not None}
    missing = [(problem, path) for problem, path in zip(problems, paths, strict=True) if path not in known]
    missing = [(problem, path) for problem, path in missing if problem.reference]
    modules = {name for problem, _ in missing for name in PythonTests(problem).modules}
    results = sandbox.map(lambda worker, pair: PythonTests(pair[0]).run_reference(worker), missing, modules)
    failed = []
    for (problem, path), (result, seconds) in zip(missing, results, strict=True):
        if result.status == PASS:
            with contextlib.suppress(OSError):  # a cache that cannot be written only costs time
                write_json(path, {"seconds": seconds})
            known[path] = seconds
        else:
            failed.append(f"{problem.task_id} ({result.status}: {result.why[:100]})")
    if failed:
        label = f"reference solutions of {len(failed)} of {len(problems)} problems fail their own tests"
        say(first_differences(label, failed))
    return [PythonTests(problem, known.get(path, 0.0)) for problem, path in zip(problems, paths, strict=True)]


def _path(problem: PythonProblem, cache: Path | None) -> Path:
    machine = [platform.python_version(), platform.node(), platform.machine()]
    key = sha256_json([CACHE_VERSION, dataclasses.asdict(problem), machine])
    return (cache or default_cache()) / f"{key}.json"


def _slow_imports(text: str) -> set[str]:
    tree = parse(text)
    nodes = [] if tree is None else list(ast.walk(tree))
    names = {alias.name.partition(".")[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {(node.module or "").partition(".")[0] for node in nodes if isinstance(node, ast.ImportFrom)}
    return names & SLOW_MODULES
