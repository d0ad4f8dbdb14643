"""Tests written in Python, run in the program's own process: statements, pytest functions, unittest classes.

The program becomes the module `solution`. Whatever it does (exits, raises SkipTest, writes a conftest.py, replaces
`pytest.raises`), only a report that all tests ran and passed counts. A report is a claim like any output: the trusted
side runs each passing program again with a last test that must fail, and does not believe one that passes it.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import os
import reprlib
import sys
import unittest
from collections.abc import Iterator
from types import ModuleType, TracebackType
from typing import Any

from src.evaluation.sandbox.guest.comparison import Comparison
from src.evaluation.sandbox.guest.load import describe, run_top_level
from src.evaluation.sandbox.guest.watch import Watch

EQUAL = "_tests_equal_"  # the trusted side writes `assert _tests_equal_(a, b)` for `assert a == b`
TESTS_TEXT, PROGRAM_TEXT = "<tests {}>", "<string>"  # names of the texts in tracebacks
TESTS_MODULE = "test_solution"
_WITHOUT = ("cacheprovider", "terminal", "faulthandler", "logging", "junitxml", "pastebin")  # plugins of pytest

_SHORT = reprlib.Repr()
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxset = _SHORT.maxdict = 40
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 400


class ProgramTests:
    """A loaded program with its tests.

    Args:
        candidates: Texts of the program; the first that compiles is run.
        entry_point: Name that it must define; empty: any.
        kind: `statements`, `pytest` or `unittest`.
        code: Texts of the tests, run one after another; one text for `pytest` and `unittest`.
        before: Text that runs before the program, with the same names; usually empty.
        names: Tests and classes that the text defines; a program's own are not collected.
        modules: Imported by the tests: imported before the program, which must not change them.
        assigned: Names that the tests assign to attributes of modules.
        allows_any: The tests use `unittest.mock.ANY`.
    """

    def __init__(
        self,
        candidates: list[str],
        entry_point: str,
        kind: str,
        code: list[str],
        before: str,
        names: list[str],
        modules: list[str],
        assigned: list[str],
        allows_any: bool,
    ) -> None:
        self.run_kind = {"statements": self._statements, "pytest": self._pytest, "unittest": self._unittest}[kind]
        self.code, self.names = code, set(names)
        self.compare = Comparison(allows_any)
        self.passed = 0
        self.failure: dict[str, Any] | None = None
        setattr(builtins, EQUAL, self.compare.equal)
        self.compare.guard(unittest.TestCase)
        for name in [*modules, *(["pytest"] if kind == "pytest" else [])]:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        self.watch = Watch(modules, set(assigned))
        self.program = sys.modules["solution"] = ModuleType("solution")
        exec(before, vars(self.program))
        run_top_level(candidates, vars(self.program))
        if entry_point:
            vars(self.program)[entry_point]  # KeyError, as without tests
        vars(self.program).pop(EQUAL, None)

    def run(self) -> dict[str, Any]:
        """Run the tests until one fails, and return the report: `passed` (their number) and `failure`."""
        if not self._tampered():
            sys.settrace(None)
            self.run_kind()
            self._tampered()
        if self.failure is None and not self.passed:
            self._fail(AssertionError("no test passed"))
        return {"passed": self.passed, "failure": self.failure}

    def _tampered(self) -> bool:
        if changed := self.watch.changed():
            self.failure = None
            self._fail(AssertionError(f"the program changed {changed}"))
        return bool(changed)

    def _fail(self, error: BaseException, name: str = "") -> None:
        if self.failure is None:
            pair = self.compare.unequal if isinstance(error, AssertionError) else None
            got, expected = map(_short, pair) if pair else ("", "")
            chunk, line = _place(error.__traceback__)
            self.failure = {
                "test": name, "chunk": chunk, "line": line, "error": describe(error), "got": got, "expected": expected
            }  # fmt: skip

    def _statements(self) -> None:
        for number, text in enumerate(self.code):
            if not self._execute(text, vars(self.program), number):
                return
            self.passed += 1

    def _unittest(self) -> None:
        names = vars(self.program)
        if self._execute(self.code[0], names):
            classes = [value for name, value in names.items() if name in self.names and _is_case(value)]
            unittest.TestSuite(map(unittest.TestLoader().loadTestsFromTestCase, classes)).run(_Result(self))

    def _pytest(self) -> None:
        import pytest

        # pytest takes a module that is already imported as it is. This one knows the program's names, as in KodCode.
        module = sys.modules[TESTS_MODULE] = ModuleType(TESTS_MODULE)
        vars(module).update({name: value for name, value in vars(self.program).items() if not name.startswith("__")})
        module.__file__ = os.path.abspath(f"{TESTS_MODULE}.py")
        with open(module.__file__, "w"):
            pass
        if not self._execute(self.code[0], vars(module)):
            return
        for name in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS"):
            os.environ.pop(name, None)
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        options = ["-c", "/dev/null", "--rootdir=.", "--noconftest", "--assert=plain", "--capture=sys", "--maxfail=1"]
        options += [word for plugin in _WITHOUT for word in ("-p", f"no:{plugin}")]
        code = pytest.main([*options, "--import-mode=importlib", module.__file__], plugins=[_Plugin(self)])
        if code != 0:
            self._fail(AssertionError(f"pytest ended with {code!r}"))

    def _execute(self, text: str, names: dict[str, Any], chunk: int = 0) -> bool:
        try:
            exec(compile(text, TESTS_TEXT.format(chunk), "exec", dont_inherit=True), names)
        except BaseException as error:
            self._fail(error)
        return self.failure is None


class _Plugin:
    """Collects what the tests' text defines and takes note of what happens to it."""

    def __init__(self, tests: ProgramTests) -> None:
        self.tests = tests

    def pytest_pycollect_makeitem(self, collector: Any, name: str) -> list[Any] | None:
        return [] if type(collector).__name__ == "Module" and name not in self.tests.names else None

    def pytest_runtest_makereport(self, item: Any, call: Any) -> None:
        if call.excinfo is not None:
            error = call.excinfo.value
            leaves = type(error).__name__ in ("Skipped", "XFailed", "SkipTest")
            if not leaves or _passes_through_program(call.excinfo.tb):
                expected = item.get_closest_marker("xfail") is not None and not leaves
                if not expected:
                    self.tests._fail(error, item.name)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.tests._fail(AssertionError(str(report.longrepr)), report.nodeid.partition("::")[2])
        self.tests.passed += report.when == "call" and report.passed

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.tests._fail(ImportError(str(report.longrepr).strip().rpartition("\n")[2]))


class _Result(unittest.TestResult):
    """Takes note of what happens to the tests of unittest classes."""

    def __init__(self, tests: ProgramTests) -> None:
        super().__init__()
        self.tests, self.failfast = tests, True

    def addSuccess(self, test: unittest.TestCase) -> None:
        super().addSuccess(test)
        self.tests.passed += 1

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        super().addError(test, err)
        self.tests._fail(err[1], str(test))

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        super().addFailure(test, err)
        self.tests._fail(err[1], str(test))

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.tests._fail(err[1], str(subtest))

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        super().addUnexpectedSuccess(test)
        self.tests._fail(AssertionError("passed unexpectedly"), str(test))

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        super().addSkip(test, reason)
        method = getattr(test, getattr(test, "_testMethodName", ""), None)
        if not getattr(test, "__unittest_skip__", False) and not getattr(method, "__unittest_skip__", False):
            self.tests._fail(AssertionError(f"skipped while it ran: {reason}"), str(test))


def _is_case(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, unittest.TestCase)


def _files(trace: TracebackType | None) -> Iterator[tuple[str, int]]:
    while trace is not None:
        yield trace.tb_frame.f_code.co_filename, trace.tb_lineno
        trace = trace.tb_next


def _place(trace: TracebackType | None) -> tuple[int, int]:
    """Return the last text of the tests in a traceback and the line in it; 0: there is none."""
    places = [(file, line) for file, line in _files(trace) if file.startswith("<tests ")]
    return (int(places[-1][0].split()[1][:-1]), places[-1][1]) if places else (0, 0)


def _passes_through_program(trace: TracebackType | None) -> bool:
    return any(file == PROGRAM_TEXT for file, _ in _files(trace))


def _short(value: Any) -> str:
    try:
        return _SHORT.repr(value)[:2000]
    except BaseException:
        return "(a value that cannot be shown)"
