"""`train.py strategy=merge`: every missing specialist, the statistics that the method needs, and their merge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from src.config.quoting import quoted
from src.stages.build import build
from src.stages.checkpoints import trained_directory
from src.stages.job import Job, compose_job
from src.stages.merge.run import merge
from src.stages.merge.statistics_inputs import needed_statistics
from src.stages.train.launch import once
from src.stages.train.names import root_key

# keys used by this command itself; all others are passed on to the training runs
OWN_KEYS = {"strategy", "task", "output", "merge"}
# keys that are passed on to the merge
MERGE_KEYS = {"merge", "model", "base", "debug", "seed", "output", "output_root", "tasks", "logger", "hydra"}

Make = Callable[[Job], Path]  # runs a training job unless its directory exists, and returns the directory


def specialists_then_merge(job: Job, make: Make) -> Path:
    """Train the missing specialists with the settings of this command, then merge them.

    Args:
        job: With `strategy=merge`.
        make: Trains a model if it is missing.

    Returns:
        The directory of the merge.

    Raises:
        UserError: A merge setting is invalid; reported before days of training.
    """
    overrides = [override for override in job.overrides if root_key(override) in MERGE_KEYS]
    build(compose_job("merge", overrides).cfg.merge)
    specialists = _one_a_task(job, make, "specialist")
    if unusual := specialists != _usual(job, "specialist"):
        overrides += [f"specialists.{task}={quoted(place)}" for task, place in specialists.items()]
    if informed := needed_statistics(job.cfg):
        of = {task: [f"strategy.checkpoint={quoted(place)}"] if unusual else [] for task, place in specialists.items()}
        found = _one_a_task(job, make, informed, of)
        if found != _usual(job, informed):
            overrides.append(
                f"merge.statistics={{{', '.join(f'{task}: {quoted(place)}' for task, place in found.items())}}}"
            )
    merging = compose_job("merge", overrides)
    return once(lambda: merge(merging))


def _one_a_task(job: Job, make: Make, strategy: str, more: Mapping[str, list[str]] | None = None) -> dict[str, Path]:
    """Directories of a strategy's runs by task; missing ones are trained."""
    return {task: make(one) for task, one in jobs_by_task(job, strategy, more).items()}


def jobs_by_task(job: Job, strategy: str, more: Mapping[str, list[str]] | None = None) -> dict[str, Job]:
    """The run of a strategy for each task, with the settings of a job with `strategy=merge`.

    Args:
        job: That job.
        strategy: One that trains for a single task.
        more: Further overrides of a task's run.
    """
    handed_on = [override for override in job.overrides if root_key(override) not in OWN_KEYS]
    lines = {str(task): [f"strategy={strategy}", f"task={task}", *handed_on] for task in job.cfg.tasks}
    return {task: compose_job("train", [*line, *(more or {}).get(task, [])]) for task, line in lines.items()}


def _usual(job: Job, strategy: str) -> dict[str, Path]:
    return {str(task): trained_directory(job.cfg, strategy, str(task)) for task in job.cfg.tasks}
