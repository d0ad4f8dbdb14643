"""Problems with tests in Python: rows of files or of the Hub as rows with `tests` (`grading.forms.python_tests`)."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from src.data.prompts import render_user_turn
from src.data.records import Record, find_data
from src.evaluation.grading.forms.python_tests import PYTEST, PYTHON, STATEMENTS, UNITTEST
from src.utils.errors import UserError, unknown_choice
from src.utils.parsing import parse
from src.utils.progress import say

ASSERTS, CHECK = "asserts", "check"
KINDS = (ASSERTS, CHECK, PYTEST, UNITTEST)
# Our name of a field -> its name in HumanEval and files like it; a `?` marks fields that a row may lack.
FIELDS = {
    "task_id": "task_id",
    "prompt": "prompt",
    "entry_point": "entry_point?",
    "solution": "canonical_solution?",
    "before_solution": "",  # its text comes before `solution`, if not `prompt` does
    "test": "test",
    "setup": "",  # run before `test`; text, or a list of texts
    "libraries": "libs?",
}
KEY = "benchmark.problems"


def problems_with_tests(
    split: str,
    data: Sequence[str] | str,
    kind: str,
    fields: Mapping[str, str] | None = None,
    calibrated: bool = False,
) -> list[dict[str, Any]]:
    """Read problems whose tests are Python text.

    Args:
        split: Filled in for `{split}` in `data`; the split of a Hub data set.
        data: Places of the rows; the first that exists is read.
        kind: `asserts`: a list of assertions, as in MBPP; `check`: a text that defines `check(candidate)`, as in
            HumanEval; `pytest`: a module of test functions or classes; `unittest`: test cases, as in BigCodeBench. In
            all of them, the program's names are known.
        fields: Our name of a field (see `FIELDS`) -> its name in the rows, or a text with names in braces.
        calibrated: The text before the solution, with the body `pass`, runs before each program, so that a program
            that leaves out its imports is not wrong, as in BigCodeBench.

    Raises:
        UserError: No data, an unknown kind or field, or a row lacks a field.
    """
    if kind not in KINDS:
        raise unknown_choice(f"{KEY}.kind", kind, list(KINDS))
    for name in fields or {}:
        if name not in FIELDS:
            raise unknown_choice(f"field in {KEY}.fields", name, list(FIELDS))
    names, rows, absent = {**FIELDS, **(fields or {})}, [], Counter[str]()
    places = [data] if isinstance(data, str) else data
    for record in find_data(places, split, f"{KEY}.data").records():
        values = {ours: field_of(record, theirs) for ours, theirs in names.items()}
        missing = _not_installed(values["libraries"] or [])
        absent.update(missing)
        rows += [] if missing else [_row(values, kind, calibrated)]
        absent["rows"] += bool(missing)
    if left_out := absent.pop("rows", 0):
        libraries = ", ".join(name for name, _ in absent.most_common(8)) + (", ..." if len(absent) > 8 else "")
        say(f"{left_out} of {left_out + len(rows)} problems left out; they need {libraries}, which are not installed")
    return rows


def row_with_tests(
    task_id: str, prompt: str, entry_point: str, solution: str, kind: str, code: Sequence[str], before: str = ""
) -> dict[str, Any]:
    """Return a row of a benchmark whose tests are Python text (see `grading.forms.python_tests.PythonProblem`)."""
    tests = {"form": PYTHON, "kind": kind, "code": [normal_lines(text) for text in code if text.strip()]}
    return {
        "task_id": task_id,
        "prompt": prompt,
        "entry_point": entry_point,
        "canonical_solution": solution,
        "tests": {**tests, **({"before": before} if before else {})},
    }


def field_of(record: Record, name: str) -> Any:
    """Value of a field: `name`, `name?` (None where it is missing) or a text with names in braces.

    Raises:
        UserError: The record lacks the field.
    """
    if not name:
        return None
    if "{" in name:
        return render_user_turn(name, **{key: str(value) for key, value in record.fields.items()})
    if name.rstrip("?") in record.fields:
        return record.fields[name.rstrip("?")]
    if name.endswith("?"):
        return None
    raise UserError(
        f"{record.place} lacks {name!r} (it has {', '.join(record.fields)}); set {KEY}.fields, e.g. "
        f"{KEY}.fields.test={next(iter(record.fields))}"
    )


def as_docstring(text: str) -> str:
    """Return a docstring with `text`, as prompts of MBPP+ are."""
    safe = text.strip().replace('"""', "'''")
    return f'{"r" if chr(92) in safe else ""}"""\n{safe}\n"""\n'


def normal_lines(text: str) -> str:
    """Return `text` with line feeds alone."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def check_code(test: str, entry_point: str, prompt: str) -> list[str]:
    """Return the texts of a test with `check(candidate)`, preceded by functions of the prompt that it calls.

    A whole program need not repeat these (`poly` in HumanEval/32); where it defines them, its own are called.
    """
    tree = parse(test) or ast.Module([], [])  # what is no Python text is reported with the other defects of its problem
    calls = any(isinstance(node, ast.Expr) and ast.unparse(node).startswith("check(") for node in tree.body)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    helpers = [name for name in _functions(prompt) if name in used and name != entry_point]
    taken = [
        f"if {name!r} not in globals():\n    _given = {{}}\n    exec({f'{prompt}{chr(10)}    pass'!r}, _given)\n"
        f"    globals()[{name!r}] = _given[{name!r}]"
        for name in helpers
    ]
    return [*taken, test, *([] if calls else [f"check({entry_point})"])]


def _row(values: Mapping[str, Any], kind: str, calibrated: bool) -> dict[str, Any]:
    prompt, entry_point, test = str(values["prompt"]), str(values["entry_point"] or ""), values["test"]
    before = normal_lines(str(values["before_solution"] or ""))
    setup = [values["setup"]] if isinstance(values["setup"], str) else list(values["setup"] or [])
    texts = [test] if isinstance(test, str) else [str(text) for text in test]
    if kind == CHECK:
        texts = check_code(normal_lines(texts[0]), entry_point, prompt)
    code = ["\n".join(setup), *texts] if kind in (ASSERTS, CHECK) else ["\n".join([*setup, *texts])]
    return row_with_tests(
        task_id=str(values["task_id"]),
        prompt=prompt,
        entry_point=entry_point,
        solution=before + normal_lines(str(values["solution"] or "")),
        kind=STATEMENTS if kind in (ASSERTS, CHECK) else kind,
        code=code,
        before=f"{before}\n    pass\n" if calibrated and before else "",
    )


def _functions(prompt: str) -> list[str]:
    tree = parse(f"{prompt}\n    pass")
    return [] if tree is None else [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]


def _not_installed(libraries: Sequence[str] | str) -> list[str]:
    names = ast.literal_eval(libraries) if isinstance(libraries, str) else libraries
    return [name for name in names if not is_installed(name)]


def is_installed(module: str) -> bool:
    """Return True if a program in the sandbox can import `module`."""
    try:
        return find_spec(module.partition(".")[0]) is not None
    except (ImportError, ValueError):
        return False


def imported_modules(tree: ast.AST) -> Iterator[str]:
    """Yield the top-level modules that Python code imports; an empty one for relative imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0] if not node.level else ""
