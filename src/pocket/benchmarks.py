"""The two pocket benchmarks: problems in EvalPlus's format and rows in CodeXGLUE's."""

from __future__ import annotations

import hashlib
import io
import random
import re
import tokenize
from functools import lru_cache
from typing import Any

from src.pocket.checks import choose_inputs, tolerance
from src.pocket.corpus import corpus
from src.pocket.programs.render import Program, render
from src.utils.seeding import derive_seed

_CHECKS = {
    "numbers": "all(isinstance(v, int) for v in numbers)",
    "left": "all(isinstance(v, int) for v in left)",
    "right": "all(isinstance(v, int) for v in right)",
    "n": "isinstance(n, int) and n >= 0",
    "x": "isinstance(x, int)",
    "rounds": "isinstance(rounds, int) and rounds >= 0",
    "text": "isinstance(text, str)",
    "words": "all(isinstance(w, str) for w in words)",
    "table": "all(isinstance(k, str) and isinstance(v, int) for k, v in table.items())",
    "rows": "all(isinstance(v, int) for row in rows for v in row)",
}
_PARTITIONS = {"train": "train", "validation": "valid", "test": "test"}
_LAYOUT = {tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.COMMENT, tokenize.ENDMARKER}


def problems(split: str, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Code-generation problems in EvalPlus's format.

    Args:
        split: "train", "validation" or "test".
        count: Maximum number of problems; a composition without discriminating inputs is skipped.
        seed: Seed of the corpus.

    Returns:
        Dictionaries with `task_id`, `prompt`, `entry_point`, `canonical_solution` (which continues the prompt),
        `base_input`, `plus_input`, `atol` and `contract`.
    """
    return [dict(problem) for problem in _problems(split, count, seed)]


@lru_cache  # half a second per split, and a study asks for them with every checkpoint
def _problems(split: str, count: int, seed: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for index, composition in enumerate(corpus(seed).compositions(split)):
        if len(found) == count:
            break
        rng = random.Random(derive_seed("pocket problem", seed, split, index))
        program = render(composition, rng)
        chosen = choose_inputs(composition, rng)
        if chosen is not None:
            found.append(_problem(f"Pocket/{split}/{index}", program, *chosen))
    return found


def _problem(
    task_id: str, program: Program, base: tuple[list[Any], ...], plus: tuple[list[Any], ...]
) -> dict[str, Any]:
    asserts = (
        f'    assert {_CHECKS[name]}, "invalid inputs" # $_CONTRACT_$\n' for name in program.composition.parameters
    )
    return {
        "task_id": task_id,
        "prompt": program.signature + program.documentation,
        "entry_point": program.name,
        "canonical_solution": program.code,
        "base_input": list(base),
        "plus_input": list(plus),
        "atol": tolerance(program.composition, (*base, *plus)),
        "contract": "\n" + "".join(asserts),
    }


def summary_rows(split: str, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Code-summarization rows in CodeXGLUE's format; `code_tokens` omits the docstring.

    Args:
        split: "train", "validation" or "test".
        count: Maximum number of rows.
        seed: Seed of the corpus.

    Returns:
        Dictionaries with CodeXGLUE's twelve fields.
    """
    rows = []
    for index, composition in enumerate(corpus(seed).compositions(split)[:count]):
        rng = random.Random(derive_seed("pocket row", seed, split, index))
        rows.append(_row(render(composition, rng), _PARTITIONS[split], index))
    return rows


def _row(program: Program, partition: str, index: int) -> dict[str, Any]:
    source, path = program.source.rstrip("\n"), f"{partition}/program_{index}.py"
    sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
    return {
        "repo": "mixmerge/pocket",
        "path": path,
        "func_name": program.name,
        "original_string": source,
        "language": "python",
        "code": source,
        "code_tokens": code_tokens(program.signature + program.code),
        "docstring": program.docstring,
        "docstring_tokens": re.findall(r"\w+|[^\w\s]", program.docstring),
        "sha": sha,
        "url": f"https://pocket.invalid/{path}?sha={sha}#L1-L{source.count(chr(10)) + 1}",
        "partition": partition,
    }


def code_tokens(source: str) -> list[str]:
    """Python's own tokens of a program, without layout and comments."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return [token.string for token in tokens if token.type not in _LAYOUT]
