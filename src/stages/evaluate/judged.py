"""Have a language model grade summaries, once per evaluation; its replies are kept like a model's answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from omegaconf import DictConfig

from src.data.docstrings import without_docstring
from src.evaluation.benchmarks.summary import SummaryBenchmark
from src.evaluation.generators.samples import generate_samples, samples_key
from src.evaluation.statistics.scores import Score
from src.runs.record import Run
from src.utils.files import sha256_json
from src.utils.jsonl import write_jsonl


def judge_summaries(
    cfg: DictConfig,
    benchmark: SummaryBenchmark,
    predictions: Mapping[str, str],
    references: Mapping[str, str],
    run: Run,
) -> list[Score]:
    """Grade summaries with the benchmark's judge; none without one.

    `judge-<benchmark>.jsonl` holds every prompt and reply with its grade (null: not readable), and the run's record the
    prompt's template and the number of replies without a grade.

    Args:
        cfg: Of `evaluate.py`.
        benchmark: With rows, unless `predictions=` are scored.
        predictions: By item.
        references: By item.
        run: Where it is recorded.

    Raises:
        UserError: The server cannot be asked, or no reply has a grade.
    """
    judge = benchmark.judge
    if judge is None:
        return []
    rows = None if cfg.predictions is not None else benchmark.items(cfg.split)
    codes = None if rows is None else {item: without_docstring(row["code"]) for item, row in rows.items()}
    prompts = judge.prompts(predictions, references, codes)
    key = samples_key(judge.identity(), prompts, judge.decoding, sha256_json(dict(references)))
    place = Path(cfg.output_root) / "samples"
    replies = generate_samples(judge.generator, prompts, judge.decoding, place, key, f"{benchmark.name}: judge")
    grades = judge.read(replies)
    write_jsonl(
        run.work / f"judge-{benchmark.name}.jsonl",
        [
            {
                "task_id": reply.task_id, "prompt": reply.prompt, "reply": reply.completion,
                "score": grades.scores.get(reply.task_id),
            }
            for reply in replies
        ],
    )  # fmt: skip
    run.results.setdefault("judge", {})[benchmark.name] = {
        "model": judge.model, "prompt": judge.prompt, "graded": len(grades.scores), "unread": grades.unread,
    }  # fmt: skip
    return [Score(benchmark.name, item, judge.name, value) for item, value in grades.scores.items()]
