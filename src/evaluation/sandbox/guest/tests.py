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
from collections.abc import Callable, Iterator
from types import (
    BuiltinFunctionType,
    FunctionType,
    MethodDescriptorType,
    ModuleType,
    TracebackType,
    WrapperDescriptorType,
)
from typing import Any

from src.evaluation.sandbox.guest.load import describe, run_top_level

EQUAL = "_tests_equal_"  # the trusted side writes `assert _tests_equal_(a, b)` for `assert a == b`
TESTS_TEXT, PROGRAM_TEXT = "<tests {}>", "<string>"  # names of the texts in tracebacks
TESTS_MODULE = "test_solution"
SCANNED = 1000  # elements of compared values that are looked at
# May be replaced: programs and tests do so for good reasons, and no comparison depends on them.
_FREE = {"open", "input", "print", "__import__", "exit", "quit", "copyright", "credits", "license", "help", "_"}
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


class Comparison:
    """Comparisons of the tests: they remember what was unequal, and refuse objects that equal everything."""

    def __init__(self, allows_any: bool) -> None:
        self.allows_any = allows_any
        self.unequal: tuple[Any, Any] | None = None

    def equal(self, left: Any, right: Any) -> Any:
        """Return `left == right`.

        Raises:
            AssertionError: One of them holds an object that equals everything.
        """
        self.unequal = None
        self._refuse(left, right)
        same = left == right
        if type(same).__name__ in ("bool", "bool_") and not same:  # Python's and numpy's
            self.unequal = left, right
        return same

    def guard(self, case: type[unittest.TestCase]) -> None:
        """Have the comparing assertions of unittest refuse objects that equal everything, too."""
        for name in [
            name for name in vars(case) if name.startswith("assert") and "Equal" in name and "Not" not in name
        ]:
            setattr(case, name, self._guarded(getattr(case, name)))

    def _guarded(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def assertion(case: Any, first: Any = None, second: Any = None, *more: Any, **options: Any) -> Any:
            self._refuse(first, second)
            return method(case, first, second, *more, **options)

        return assertion

    def _refuse(self, *values: Any) -> None:
        for value in values:
            for found in _parts(value):
                if self._equals_everything(found):
                    raise AssertionError(f"a {type(found).__name__} object equals everything")

    def _equals_everything(self, value: Any) -> bool:
        own = type(value).__eq__
        if isinstance(own, WrapperDescriptorType | MethodDescriptorType | BuiltinFunctionType):
            return False
        place = own.__code__.co_filename if isinstance(own, FunctionType) else ""
        if type(value).__module__ == "unittest.mock" and type(value).__name__ == "_ANY":
            return not self.allows_any
        if place.startswith(("/", "<tests ")):
            return False  # of an installed library, or of the tests
        try:
            return bool(value == object())
        except Exception:
            return False


class Watch:
    """What tests rely on, as it was before the program: built-in names, pytest, unittest, and what they import.

    Args:
        modules: Names of modules that the tests import.
        assigned: Names that the tests themselves assign.
    """

    def __init__(self, modules: list[str], assigned: set[str]) -> None:
        self.modules = {name: module for name, module in sys.modules.items() if name != "solution"}
        relied_on = [(owner, name, value) for owner, name, value in _relied_on(modules) if name not in assigned]
        self.names = [(owner, name, value, _code(value)) for owner, name, value in relied_on]

    def changed(self) -> str:
        """Return the first name that has changed, or an empty text."""
        for name, module in self.modules.items():
            if sys.modules.get(name) is not module:
                return name
        missing = object()
        for owner, name, value, code in self.names:
            now = vars(owner).get(name, missing)
            if now is not value or _code(now) is not code:
                return f"{getattr(owner, '__name__', '')}.{name}"
        return ""


def _relied_on(modules: list[str]) -> Iterator[tuple[Any, str, Any]]:
    names = ["unittest", "unittest.case", "pytest", "_pytest.raises", "_pytest.python_api", *modules]
    owners = [builtins, unittest.TestCase, *(sys.modules[name] for name in names if name in sys.modules)]
    for owner in owners:
        for name, value in list(vars(owner).items()):
            kept = name not in _FREE if owner is builtins else callable(value) and not name.startswith("__")
            if kept:
                yield owner, name, value


def _code(value: Any) -> Any:
    return getattr(value, "__code__", None) if isinstance(value, FunctionType) else None


def _parts(value: Any) -> Iterator[Any]:
    """Yield a value and what plain containers in it hold, up to `SCANNED`."""
    waiting, seen = [value], 0
    while waiting and seen < SCANNED:
        found = waiting.pop()
        seen += 1
        yield found
        if type(found) in (list, tuple, set, frozenset):
            waiting += list(found)[:SCANNED]
        elif type(found) is dict:
            waiting += [part for pair in list(found.items())[:SCANNED] for part in pair]


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
