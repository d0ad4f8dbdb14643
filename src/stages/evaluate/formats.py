"""Files of an evaluation for other tools, as `formats=[evalplus,lm_eval,model_index]` asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from omegaconf import DictConfig

from src.evaluation.benchmarks.code import CodeBenchmark
from src.evaluation.generators.samples import Sample
from src.evaluation.grading.grade import Grades
from src.evaluation.grading.programs import likely_program
from src.evaluation.statistics.scores import Score
from src.reporting.exchange import evalplus_results, lm_eval_samples, model_index
from src.runs.record import Run
from src.stages.evaluate.identity import Benchmark
from src.utils.files import write_json
from src.utils.jsonl import write_jsonl


def write_answers(
    cfg: DictConfig,
    benchmark: Benchmark,
    samples: Sequence[Sample],
    scores: Sequence[Score],
    grades: Grades | None,
    run: Run,
) -> None:
    """Write `eval_results-BENCHMARK.json` (programs) and `lm_eval-samples_BENCHMARK.jsonl`, as far as asked for."""
    items = benchmark.items(cfg.split)
    if "evalplus" in cfg.formats and isinstance(benchmark, CodeBenchmark) and grades is not None:
        texts = [
            likely_program(tried, items[result.task_id]["entry_point"])
            for tried, result in zip(grades.texts, grades.results, strict=True)
        ]
        date = datetime.now().strftime("%Y-%m-%d %H:%M")
        found = evalplus_results(list(items.values()), grades.results, texts, benchmark.content_hash(cfg.split), date)
        write_json(run.work / f"eval_results-{benchmark.name}.json", found)
    if "lm_eval" in cfg.formats:
        rows = lm_eval_samples(samples, items, benchmark.references(cfg.split), scores, benchmark.decoding)
        write_jsonl(run.work / f"lm_eval-samples_{benchmark.name}.jsonl", rows)


def write_model_index(cfg: DictConfig, subject: str, means: Sequence[Mapping[str, Any]], run: Run) -> None:
    """Write `model-index.yml`, the front matter of a model card, if asked for."""
    if "model_index" in cfg.formats:
        (run.work / "model-index.yml").write_text(model_index(subject, means, cfg.split), encoding="utf-8")
