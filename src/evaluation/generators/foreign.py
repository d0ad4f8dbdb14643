"""Answers in the result files of other tools, as rows with `task_id` and `solution` or `completion`."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from src.utils.errors import UserError


def evalplus_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place and row of each program in EvalPlus's `eval_results.json`, in its order.

    Raises:
        UserError: It is no such file, or one of a version that did not keep the programs.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            content = json.load(file)
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"samples={path} is not JSON ({error})") from error
    results = content.get("eval") if isinstance(content, dict) else None
    if not isinstance(results, dict):
        raise UserError(f"samples={path}: expected EvalPlus's eval_results.json, an object with `eval`")
    for task, programs in results.items():
        if not isinstance(programs, list) or not all(isinstance(row, dict) and "solution" in row for row in programs):
            raise UserError(
                f"samples={path}, {task}: expected a list of programs with `solution`; this version of EvalPlus kept "
                "only their results: give samples=FILE with the programs"
            )
        yield from ((f"{path}, {task}", {"task_id": task, "solution": row["solution"]}) for row in programs)


def lm_eval_rows(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a row of lm-evaluation-harness's samples as one row per answer.

    The answers are those before filters (`resps`), which may have added the prompt or the tests. MBPP's numbers become
    `Mbpp/number`. A row without these fields is returned as it is.
    """
    doc, answers = row.get("doc"), row.get("resps")
    if not isinstance(doc, dict) or not isinstance(answers, list):
        yield row
        return
    task = doc.get("task_id")
    name = f"Mbpp/{task}" if isinstance(task, int) else task
    for texts in answers:
        for text in texts if isinstance(texts, list) else [texts]:
            yield {"task_id": name, "completion": text}
