"""Results of an evaluation in the formats of other tools: EvalPlus, lm-evaluation-harness, Hugging Face."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from huggingface_hub import EvalResult
from huggingface_hub.repocard_data import eval_results_to_model_index

from src.evaluation.benchmarks.code import pass_at_k
from src.evaluation.generators.samples import Decoding, Sample
from src.evaluation.grading.forms.result import PASS
from src.evaluation.grading.results import ProgramResult
from src.evaluation.statistics.scores import Score, by_metric

TEST_KEYS = ("base_input", "plus_input", "contract")  # megabytes per problem
_INPUT = re.compile(r"(base|plus): input (\d+)")


def evalplus_results(
    problems: Sequence[Mapping[str, Any]],
    results: Sequence[ProgramResult],
    programs: Sequence[str],
    content_hash: str,
    date: str,
) -> dict[str, Any]:
    """Return the content of EvalPlus 0.3.1's `eval_results.json`.

    Args:
        problems: In EvalPlus's format.
        results: One per program.
        programs: Text of each.
        content_hash: Hash of the problems.
        date: Of the evaluation.
    """
    inputs = {problem["task_id"]: problem for problem in problems}
    found: dict[str, list[dict[str, Any]]] = {task: [] for task in inputs}
    for result, program in zip(results, programs, strict=True):
        failed = _INPUT.match(result.detail)
        suite, number = (failed[1], int(failed[2])) if failed else ("", 0)
        found[result.task_id].append(
            {
                "task_id": result.task_id,
                "solution": program,
                "base_status": result.base,
                "plus_status": result.plus,
                **{
                    f"{name}_fail_tests": [inputs[result.task_id][f"{name}_input"][number]] if name == suite else []
                    for name in ("base", "plus")
                },
            }
        )
    shares = {
        suite: {
            f"pass@{k}": sum(pass_at_k(len(rows), _passing(rows, suites), k) for rows in found.values()) / len(found)
            for k in (1, 10, 100)
            if all(len(rows) >= k for rows in found.values())
        }
        for suite, suites in (("base", ["base"]), ("plus", ["base", "plus"]))
    }
    return {"date": date, "hash": content_hash, "eval": found, "pass_at_k": shares}


def lm_eval_samples(
    samples: Sequence[Sample],
    items: Mapping[str, Mapping[str, Any]],
    targets: Mapping[str, str],
    scores: Sequence[Score],
    decoding: Decoding,
) -> list[dict[str, Any]]:
    """Return the rows of lm-evaluation-harness's `samples_<task>_<date>.jsonl`, one per item with all its answers.

    Args:
        samples: The answers.
        items: id -> row of the benchmark.
        targets: id -> reference.
        scores: Of the benchmark.
        decoding: Decoding settings.
    """
    answers: dict[str, list[Sample]] = {}
    for sample in samples:
        answers.setdefault(sample.task_id, []).append(sample)
    values = {metric: table for (_, metric), table in by_metric(scores).items()}
    settings = {"max_gen_toks": decoding.max_new_tokens, "temperature": decoding.temperature, "until": [*decoding.stop]}
    rows = []
    for number, (name, item) in enumerate(items.items()):
        texts = [sample.completion for sample in answers[name]]
        metrics = {metric: table[name] for metric, table in values.items() if name in table}
        rows.append(
            {
                "doc_id": number,
                "doc": {**{key: value for key, value in item.items() if key not in TEST_KEYS}, "task_id": name},
                "target": targets[name],
                "arguments": {"gen_args_0": {"arg_0": answers[name][0].prompt, "arg_1": settings}},
                "resps": [texts],
                "filtered_resps": texts,
                "filter": "none",
                "metrics": list(metrics),
                **metrics,
            }
        )
    return rows


def model_index(name: str, rows: Sequence[Mapping[str, Any]], split: str) -> str:
    """Return the `model-index` of a model card's front matter as YAML.

    Args:
        name: Name of the model.
        rows: Rows of `scores.csv`.
        split: Split of the benchmarks.
    """
    found = [
        EvalResult(
            task_type="text-generation",
            dataset_type=str(row["benchmark"]),
            dataset_name=str(row["benchmark"]),
            dataset_split=split,
            metric_type=str(row["metric"]),
            metric_value=float(row["value"]),
            metric_args={"n": int(row["n"]), "low": float(row["low"]), "high": float(row["high"])},
        )
        for row in rows
    ]
    return str(yaml.safe_dump({"model-index": eval_results_to_model_index(name, found)}, sort_keys=False))


def _passing(rows: Sequence[Mapping[str, Any]], suites: Sequence[str]) -> int:
    return sum(all(row[f"{suite}_status"] == PASS for suite in suites) for row in rows)
