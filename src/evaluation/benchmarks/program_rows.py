"""Problems for whole programs: rows with inputs and outputs (LiveCodeBench, APPS) or with tests as text (MultiPL-E)."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import pickle
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from src.data.prompts import render_user_turn
from src.data.records import Record, find_data
from src.evaluation.grading.forms.call_tests import CALLS
from src.evaluation.grading.forms.file_tests import FILE
from src.evaluation.grading.forms.languages import Language, Toolchain
from src.evaluation.grading.forms.stdin_tests import STDIN
from src.utils.errors import UserError
from src.utils.progress import say

NAMES = ("question_id", "task_id", "problem_id", "id", "name")
QUESTIONS = ("question_content", "question", "description", "prompt")
DATES = ("contest_date", "date")
KEY = "benchmark.problems.data"


def input_output_problems(
    split: str,
    data: Sequence[str] | str,
    language: Language,
    stdin_prompt: str,
    starter_prompt: str,
    seconds: float = 6.0,
    tolerance: float = 0.0,
    dates: Sequence[str | None] = (None, None),
    prefix: str = "",
) -> list[dict[str, Any]]:
    """Read problems with inputs and outputs, in LiveCodeBench's form (arXiv 2403.07974) or APPS's (arXiv 2105.09938).

    Tests are `public_test_cases` and `private_test_cases` (lists of `input`, `output`, `testtype`, as JSON, also
    compressed) or `input_output` (`inputs`, `outputs`, `fn_name`). Where they name a function, Python programs are
    called; else programs read standard input. Rows without tests are left out with a message.

    Args:
        split: A split, for `{split}` in `data`.
        data: Places of the rows: file patterns, or a data set on the Hub.
        language: Language of the programs.
        stdin_prompt: User turn with `{question}` and `{language}`.
        starter_prompt: User turn for rows with `starter_code`, as `{starter}`.
        seconds: Time limit of a test (LiveCodeBench: 6).
        tolerance: Numbers in outputs may differ by this much (LiveCodeBench: 0).
        dates: First and last day of the problems, as `2024-08-01`; null: no bound.
        prefix: Before the id of a row, to make its task id.

    Raises:
        UserError: No such data, a row lacks its question or its tests have no known form, or the language is not
            installed.
    """
    plain = _plain(language)
    records = [record for record in _records(data, split) if _is_between(record, dates)]
    problems = []
    for record in records:
        cases, function = _cases(record)
        if not cases:
            continue
        template = starter_prompt if record.fields.get("starter_code") else stdin_prompt
        problem = _question(record, prefix, template, language.name, function)
        on_input = {"form": STDIN, "cases": cases, "tolerance": tolerance, **plain}
        tests = _call_tests(record, cases, function, language) if function else on_input
        problems.append({**problem, "tests": {**tests, "seconds": seconds}})
    if without := len(records) - len(problems):
        say(f"{without} of {len(records)} problems have no tests and are left out")
    return problems


def _question(record: Record, prefix: str, template: str, language: str, function: str) -> dict[str, Any]:
    starter = record.fields.get("starter_code") or ""
    words = {"question": str(_field(record, QUESTIONS)), "language": language, "starter": starter}
    return {
        "task_id": f"{prefix}{_field(record, NAMES)}",
        "prompt": render_user_turn(template, **words),
        "entry_point": function,
        "canonical_solution": "",
    }


def multipl_e_problems(
    split: str,
    data: Sequence[str] | str,
    language: Language,
    impossible: Sequence[str] = (),
    seconds: float = 15.0,
) -> list[dict[str, Any]]:
    """Read problems in MultiPL-E's form (arXiv 2208.08227): `name`, `language`, `prompt`, `tests`, `stop_tokens`.

    Args:
        split: A split, for `{split}` in `data`.
        data: Places of the rows: file patterns, or a data set on the Hub.
        language: Language of the programs; the rows' is one of its `fences`.
        impossible: Regular expression and replacement that make tests which no program passes.
        seconds: Time limit (MultiPL-E: 15).

    Raises:
        UserError: No such data, a row lacks a field or is in another language, or the language is not installed.
    """
    plain = _plain(language)
    problems = []
    for record in _records(data, split):
        _check_multipl_e(record, language)
        row = record.fields
        tests = {"form": FILE, "text": row["tests"], "impossible": list(impossible), "seconds": seconds}
        problems.append(
            {
                "task_id": row["name"],
                "prompt": row["prompt"],
                "entry_point": "",
                "canonical_solution": "",
                "stop": list(row.get("stop_tokens") or ()),
                "tests": {**tests, **plain},
            }
        )
    return problems


def _check_multipl_e(record: Record, language: Language) -> None:
    for name in ("name", "prompt", "tests"):
        _field(record, (name,))
    if record.fields.get("language", language.fences[0]) not in language.fences:
        raise UserError(
            f"{record.place}: its language is {record.fields['language']!r}, the benchmark's is {language.name} "
            f"({', '.join(language.fences)}); set {KEY} or the benchmark"
        )


def _plain(language: Language) -> dict[str, Any]:
    """Return a language as JSON values, with its version: what decides a score is part of the rows.

    Raises:
        UserError: It is not installed; said here, before a model is loaded.
    """
    return {"language": dataclasses.asdict(language), "version": Toolchain(language).version()}


def _records(data: Sequence[str] | str, split: str) -> Iterator[Record]:
    return find_data((data,) if isinstance(data, str) else tuple(data), split, KEY).records()


def _field(record: Record, names: Sequence[str]) -> Any:
    for name in names:
        if record.fields.get(name) not in (None, ""):
            return record.fields[name]
    raise UserError(f"{record.place}: expected {' or '.join(names)}, got the fields {sorted(record.fields)}")


def _is_between(record: Record, dates: Sequence[str | None]) -> bool:
    first, last = dates
    if first is None and last is None:
        return True
    day = str(_field(record, DATES))[:10]
    return (first or day) <= day <= (last or day)


def _cases(record: Record) -> tuple[list[Any], str]:
    """Return input and output of each test, and the function that they call; empty for standard input."""
    row = record.fields
    if "input_output" in row:
        found = _decoded(row["input_output"], record) or {}
        cases = list(zip(found.get("inputs", []), found.get("outputs", []), strict=True))
        if found.get("fn_name"):
            return [list(case) for case in cases], str(found["fn_name"])
        return [[_joined(given), _joined(right)] for given, right in cases], ""
    tests = [
        test for key in ("public_test_cases", "private_test_cases") for test in _decoded(row.get(key), record) or []
    ]
    kinds = {test.get("testtype", STDIN) for test in tests}
    if not kinds <= {STDIN, "functional"} or len(kinds) > 1:
        raise UserError(f"{record.place}: expected tests of type stdin or functional, got {sorted(kinds)}")
    function = (
        str((_decoded(row.get("metadata"), record) or {}).get("func_name") or "") if kinds == {"functional"} else ""
    )
    if kinds == {"functional"} and not function:
        raise UserError(f"{record.place}: its tests are functional, but its metadata has no func_name")
    return [[test["input"], test["output"]] for test in tests], function


def _call_tests(record: Record, cases: Sequence[Any], function: str, language: Language) -> dict[str, Any]:
    """Arguments and values: as JSON, one argument per line (LiveCodeBench), or as they are (APPS)."""
    if "python" not in language.fences:
        raise UserError(f"{record.place}: it calls {function}(), which only Python programs can have tested")
    as_text = all(isinstance(given, str) for given, _ in cases)
    try:
        read = [
            [[json.loads(line) for line in given.split("\n")], json.loads(right)] if as_text else [given, right]
            for given, right in cases
        ]
    except ValueError as error:
        raise UserError(f"{record.place}: a test's arguments or value are not JSON ({error})") from error
    return {"form": CALLS, "cases": read, "or_first": not as_text, "header": language.header}


def _joined(text: Any) -> str:
    return "\n".join(map(str, text)) if isinstance(text, list) else str(text)


def _decoded(value: Any, record: Record) -> Any:
    """Read JSON, also compressed as in `code_generation_lite`: base64 of zlib of a pickled text."""
    if not isinstance(value, str) or not value.strip():
        return value or None
    try:
        return json.loads(value)
    except ValueError:
        pass
    try:
        text = _OnlyText(io.BytesIO(zlib.decompress(base64.b64decode(value, validate=True)))).load()
        return json.loads(text)
    except (ValueError, TypeError, EOFError, zlib.error, pickle.UnpicklingError) as error:
        raise UserError(f"{record.place}: its tests are neither JSON nor compressed JSON ({error})") from error


class _OnlyText(pickle.Unpickler):
    """Unpickle plain values and nothing that could run code."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name} is not text")
