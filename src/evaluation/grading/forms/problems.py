"""Problems in EvalPlus's format, from its files or from similar files or lists."""

from __future__ import annotations

import hashlib
import marshal
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from src.evaluation.grading.forms.rows import fields_of, problems_of_rows
from src.evaluation.sandbox.protocol import MARSHAL_VERSION
from src.utils.errors import UserError
from src.utils.jsonl import iterate_jsonl

INPUTS = "inputs"  # name of this form of tests
REQUIRED = ("task_id", "prompt", "entry_point", "canonical_solution", "base_input", "plus_input")
OVERRIDES = {"humaneval": "HUMANEVAL_OVERRIDE_PATH", "mbpp": "MBPP_OVERRIDE_PATH"}
STANDARD = {"humaneval": "data/humaneval/HumanEvalPlus.jsonl.gz", "mbpp": "data/mbpp/MbppPlus.jsonl.gz"}
_DOWNLOADS = {
    "humaneval": "HumanEvalPlus.jsonl.gz from github.com/evalplus/humanevalplus_release",
    "mbpp": "MbppPlus.jsonl.gz from github.com/evalplus/mbppplus_release",
}


@dataclass(frozen=True)
class Problem:
    """A problem with its tests.

    Attributes:
        task_id: For example `HumanEval/0`; the part before the slash selects special oracles.
        prompt: Text that a model continues.
        entry_point: Name of the function that is called.
        canonical_solution: Continues `prompt`; its outputs are the expected ones.
        base_input: The original tests, a list of argument lists.
        plus_input: The added tests.
        atol: Absolute tolerance for floats; 0: exact except for 1e-6 on floats.
    """

    task_id: str
    prompt: str
    entry_point: str
    canonical_solution: str
    base_input: list[Any] = field(repr=False)
    plus_input: list[Any] = field(repr=False)
    atol: float = 0.0
    form: ClassVar[str] = INPUTS

    @property
    def dataset(self) -> str:
        """The name before the slash in lower case, e.g. `humaneval` or `mbpp`."""
        return self.task_id.split("/")[0].lower()

    @cached_property
    def packed_base(self) -> bytes:
        """`base_input` in the format that a sandbox takes."""
        return marshal.dumps(self.base_input, MARSHAL_VERSION)

    @cached_property
    def packed_plus(self) -> bytes:
        """`plus_input` in the format that a sandbox takes."""
        return marshal.dumps(self.plus_input, MARSHAL_VERSION)

    def fingerprint(self) -> str:
        """Hash everything that the reference solution's outputs depend on (hex SHA-256)."""
        parts = (self.task_id, self.prompt, self.entry_point, self.canonical_solution, self.atol)
        sizes = (len(self.packed_base), len(self.packed_plus))
        digest = hashlib.sha256(marshal.dumps((parts, sizes), MARSHAL_VERSION))
        digest.update(self.packed_base)
        digest.update(self.packed_plus)
        return digest.hexdigest()


def load_problems(path: Path | str) -> list[Problem]:
    """Read the problems of a `.jsonl` or `.jsonl.gz` file in EvalPlus's format.

    Raises:
        UserError: The file is missing or malformed, a row lacks a field, or two rows share a `task_id`.
    """
    return problems_of_rows(iterate_jsonl(Path(path)), f"{path} is not a list of EvalPlus problems", input_problem)


def input_problem(row: dict[str, Any]) -> Problem:
    """Build a problem of a row with its fields; MBPP's inputs regain the tuples and numbers that JSON lost.

    Raises:
        Defect: A field other than `atol` is missing.
    """
    fields = fields_of(row, REQUIRED)
    restore = _restorer(row["task_id"])
    for name in ("base_input", "plus_input"):
        fields[name] = [restore(arguments) for arguments in row[name]]
    return Problem(**fields, atol=float(row.get("atol") or 0.0))


def benchmark_path(dataset: str, path: Path | str | None = None) -> Path:
    """Find the problems of a benchmark: `path`, else EvalPlus's environment variable, else in `data/`.

    Args:
        dataset: `humaneval` or `mbpp`.
        path: A file, or None.

    Raises:
        UserError: They cannot be found; the message says how to get them.
    """
    variable = OVERRIDES[dataset]
    found = path or os.environ.get(variable)
    if not found and not Path(STANDARD[dataset]).is_file():
        raise UserError(
            f"no problems for benchmark={dataset}: download {_DOWNLOADS[dataset]} to {STANDARD[dataset]}, "
            f"or set benchmark.problems=FILE or {variable}=FILE"
        )
    return Path(found or STANDARD[dataset])


# --- MBPP's inputs: JSON has no tuples, sets or complex numbers, so EvalPlus's loader rebuilds them by task -----------
def _tuple_each(arguments: Any) -> list[Any]:
    return [tuple(argument) for argument in arguments]


def _tuples_in_each(arguments: Any) -> list[Any]:
    return [[tuple(item) for item in argument] for argument in arguments]


def _tuple_of_tuples_each(arguments: Any) -> list[Any]:
    return [tuple(argument) for argument in _tuples_in_each(arguments)]


def _tuples_in_first(arguments: Any) -> list[Any]:
    return [[tuple(item) for item in arguments[0]], arguments[1]]


def _tuple_second(arguments: Any) -> list[Any]:
    return [arguments[0], tuple(arguments[1])]


def _tuple_first(arguments: Any) -> list[Any]:
    return [tuple(arguments[0]), *arguments[1:]]


def _sets_in_first(arguments: Any) -> list[Any]:
    return [[set(item) if isinstance(item, list) and item else {} for item in arguments[0]]]


def _lists_in_each_tuple(arguments: Any) -> list[Any]:
    return [tuple(tuple(item) if isinstance(item, list) else item for item in arguments[0])]


def _tuples_as_values(arguments: Any) -> list[Any]:
    return [{key: tuple(value) for key, value in arguments[0].items()}, *arguments[1:]]


def _float_and_complex(arguments: Any) -> tuple[Any, ...]:
    return float(arguments[0]), complex(arguments[1])


def _complex_first(arguments: Any) -> list[Any]:
    return [complex(arguments[0])]


def _all_tuples(value: Any) -> Any:
    return tuple(_all_tuples(item) for item in value) if isinstance(value, list) else value


_RESTORE: dict[Callable[[Any], Any], str] = {
    _tuple_each: "2 116 132 143 222 261 273 394 399 421 424 429 470 560 579 596 616 630 726 740 744 809",
    _tuples_in_each: "63 64 70 94 120 237 272 299 400 409 417 438 473 614 780",
    _tuples_in_first: "75 413 444 753",
    _tuple_second: "106 750",
    _tuple_first: "250 307 405 446 617 720 763 808",
    _tuple_of_tuples_each: "259 401 445",
    _sets_in_first: "115",
    _lists_in_each_tuple: "278",
    _tuples_as_values: "722",
    _float_and_complex: "124",
    _complex_first: "252",
    _all_tuples: "580 615 791",
}
_RESTORE_BY_TASK = {f"Mbpp/{number}": rule for rule, numbers in _RESTORE.items() for number in numbers.split()}


def _restorer(task_id: str) -> Callable[[Any], Any]:
    return _RESTORE_BY_TASK.get(task_id, lambda arguments: arguments)
