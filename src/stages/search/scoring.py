"""Scores of a merge point on validation data: losses of the tasks' rows, and benchmarks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

from omegaconf import DictConfig

from src.data.batches import HeldOutRows, held_out_rows
from src.data.options import DataOptions
from src.data.shards import Tokenization
from src.evaluation.benchmarks.summary import SummaryBenchmark
from src.evaluation.generators.hf import HFGenerator
from src.evaluation.generators.samples import generate_samples, samples_key
from src.evaluation.generators.vllm import VLLMGenerator
from src.evaluation.grading.program_judge import ProgramJudge
from src.evaluation.statistics.averages import RelativeScores
from src.evaluation.statistics.scores import Score, by_metric
from src.lit_modules.heldout import row_losses
from src.models import load_tokenizer
from src.stages.evaluate.identity import Benchmark
from src.stages.train.rows import token_cache, training_tables

LOSS, AVERAGE, SPLIT = "loss", "average", "validation"
Generator = HFGenerator | VLLMGenerator


class Measure(Protocol):
    """Values of the model that a generator has loaded."""

    def __call__(self, generator: Generator) -> Mapping[str, float]:
        """By name."""
        ...


@dataclass(frozen=True)
class ValidationLoss:
    """`loss.TASK`, the mean loss of an answer token of each task, and `loss`, their mean over tasks.

    Args:
        rows: Tokenized rows by task.
    """

    rows: Mapping[str, HeldOutRows]

    @classmethod
    def of(
        cls, cfg: DictConfig, sources: Mapping[str, Sequence[Any]], checkpoint: Path, rows: int | None
    ) -> ValidationLoss:
        """Tokenize validation rows.

        Args:
            cfg: Of `merge.py`.
            sources: By task.
            checkpoint: Directory with the tokenizer.
            rows: Maximum number per task, evenly spaced; None: all.

        Raises:
            UserError: A task has no validation rows.
        """
        recipe, tokenizer = cfg.model.recipe, load_tokenizer(checkpoint)
        cache = token_cache("auto", cfg.output_root, str(cfg.model.data))
        tokenization, options = Tokenization(tokenizer, recipe.max_length), DataOptions(cache=cache, limit=rows)
        tables, _ = training_tables(sources, SPLIT, tokenization, options)
        padding = int(tokenizer.pad_token_id or 0)
        return cls({task: held_out_rows(table, recipe.micro_batch, padding) for task, table in tables.items()})

    def __call__(self, generator: Generator) -> dict[str, float]:
        """See `Measure`."""
        assert isinstance(generator, HFGenerator)
        assert generator.model is not None
        losses = {task: row_losses(generator.model, rows).mean for task, rows in self.rows.items()}
        return {LOSS: fmean(losses.values())} | {f"{LOSS}.{task}": value for task, value in losses.items()}


@dataclass
class BenchmarkScores:
    """`BENCHMARK/METRIC`, `BENCHMARK`, the mean of its metrics, and `average`, relative to the specialists.

    Args:
        benchmarks: By name.
        judge: Runs programs.
        samples: Directory in which answers are kept, so that an interrupted point goes on.
        averaged: Benchmarks of the average.
        specialists: Scores of every task's specialist; empty: no average.
    """

    benchmarks: Mapping[str, Benchmark]
    judge: ProgramJudge
    samples: Path
    averaged: Collection[str] = ()
    specialists: dict[str, list[Score]] = field(default_factory=dict)

    def scores(self, generator: Generator) -> list[Score]:
        """The score of every item."""
        return [score for benchmark in self.benchmarks.values() for score in self._score(benchmark, generator)]

    def __call__(self, generator: Generator) -> dict[str, float]:
        """See `Measure`."""
        scores = self.scores(generator)
        means = {metric: fmean(items.values()) for metric, items in by_metric(scores).items()}
        values = {f"{benchmark}/{metric}": mean for (benchmark, metric), mean in means.items()}
        for name in self.benchmarks:
            values[name] = fmean(mean for (benchmark, _), mean in means.items() if benchmark == name)
        return values | ({AVERAGE: self._average(scores)} if self.specialists else {})

    def _score(self, benchmark: Benchmark, generator: Generator) -> list[Score]:
        prompts = benchmark.prompts(SPLIT)
        key = samples_key(generator.identity(), prompts, benchmark.decoding, benchmark.content_hash(SPLIT))
        samples = generate_samples(generator, prompts, benchmark.decoding, self.samples, key, benchmark.name)
        if isinstance(benchmark, SummaryBenchmark):
            return benchmark.score(samples, SPLIT)
        return benchmark.score(samples, SPLIT, self.judge)

    def _average(self, scores: list[Score]) -> float:
        tasks = {name: self.benchmarks[name].task for name in self.averaged}
        subjects = {f"specialist {task}": [[own]] for task, own in self.specialists.items()}
        names = {task: f"specialist {task}" for task in self.specialists}
        return RelativeScores({"merge": [[scores]], **subjects}, names, tasks).averages["merge"].mean
