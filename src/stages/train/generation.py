"""Validation problems for a callback that generates while training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from src.config.checks import SPLITS
from src.lit_modules.callbacks.generation_score import SPLIT, GenerationScore
from src.stages.benchmarks import task_benchmarks
from src.stages.build import build, build_once
from src.stages.checkpoints import OF_ONE_TASK
from src.stages.job import Job, task_of
from src.stages.train.decontamination import benchmark_job
from src.utils.errors import UserError


def prepare_generation(job: Job, callbacks: Sequence[Any], tokenizer: PreTrainedTokenizerBase) -> None:
    """Give `GenerationScore`, if it is among the callbacks, the benchmarks of the trained tasks.

    Args:
        job: The training job.
        callbacks: Of the run.
        tokenizer: Of the run.

    Raises:
        UserError: None of the benchmarks has a validation split, or its files are missing.
    """
    watching = [callback for callback in callbacks if isinstance(callback, GenerationScore)]
    if not watching:
        return
    evaluation = benchmark_job(job)
    tasks = [task_of(job.cfg)] if job.cfg.strategy.name in OF_ONE_TASK else list(job.cfg.tasks)
    nodes = {
        name: node
        for name, node in task_benchmarks(evaluation).items()
        if node.task in tasks and SPLIT in node.get("splits", SPLITS)
    }
    if not nodes:
        raise UserError(
            f"callbacks.generate: no benchmark of {', '.join(map(str, tasks))} has a validation split "
            f"(tasks.*.benchmarks.{job.cfg.model.data}); leave it out of callbacks=[...]"
        )
    for callback in watching:
        benchmarks = [build(node, limit=callback.problems) for node in nodes.values()]
        callback.prepare(benchmarks, tokenizer, lambda: build_once(evaluation.cfg.sandbox))
