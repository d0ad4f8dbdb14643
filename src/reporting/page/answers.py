"""Answers of a report's models, problem by problem, packed for its page."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Mapping
from typing import Any

from src.reporting.names import benchmark_label
from src.reporting.problems import is_pass, shown_text

LIMIT = 500  # problems per benchmark
IN_PAGE = 1_000_000  # bytes of packed answers up to which they are inside the page
Row = Mapping[str, Any]


def packed_answers(rows: Iterable[Row]) -> dict[str, str]:
    """Pack the answers of several models, benchmark by benchmark.

    Args:
        rows: Rows of `answers` of every model, `subject` being its name.

    Returns:
        benchmark -> gzip of a JSON object in base64: `label`, `metric`, `program`, `models` and `items`, each with its
        `id`, `prompt` and one answer per model (null: not recorded). Texts are escaped HTML, programs highlighted. Of
        many problems, those on which the models differ most come first and the rest is left out (`left_out`).
    """
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(str(row["benchmark"]), []).append(row)
    return {benchmark: _pack(_benchmark(benchmark, group)) for benchmark, group in found.items()}


def sample_script(benchmark: str, packed: str) -> str:
    """A script beside the page that hands it the answers to a benchmark; the packed text is base64, hence no code."""
    return f"window.receiveAnswers({json.dumps(benchmark)}, {json.dumps(packed)});\n"


def _pack(value: Mapping[str, Any]) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _benchmark(benchmark: str, rows: list[Row]) -> dict[str, Any]:
    models = list(dict.fromkeys(str(row["subject"]) for row in rows))
    metric = str(rows[0]["metric"])
    by_item: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_item.setdefault(str(row["item"]), {})[str(row["subject"])] = row
    items = sorted(by_item.items(), key=lambda item: -_spread(item[1]))
    return {
        "label": benchmark_label(benchmark), "metric": metric, "program": is_pass(metric), "models": models,
        "items": [_item(name, found, models, is_pass(metric)) for name, found in items[:LIMIT]],
        "left_out": max(0, len(items) - LIMIT),
    }  # fmt: skip


def _spread(answers: Mapping[str, Row]) -> float:
    values = [float(row["value"]) for row in answers.values()]
    return max(values) - min(values)


def _item(name: str, answers: Mapping[str, Row], models: list[str], program: bool) -> dict[str, Any]:
    prompt = next((row["prompt"] for row in answers.values() if row["prompt"]), "")
    return {
        "id": name,
        "prompt": str(shown_text(prompt, code="def " in str(prompt))),
        "answers": [_answer(answers[model], program) if model in answers else None for model in models],
    }


def _answer(row: Row, program: bool) -> dict[str, Any]:
    texts = {key: str(shown_text(row[key])) for key in ("input", "expected", "got") if str(row[key])}
    return {"value": round(float(row["value"]), 4), "answer": str(shown_text(row["answer"], program)), **texts}
