"""All command lines of a study before any of them is run: `study.py dry_run=true`."""

from __future__ import annotations

from collections.abc import Iterator

from src.stages.build import build
from src.stages.merge.run import merge_directory
from src.stages.places import is_published
from src.stages.study.jobs import StudyJobs
from src.stages.study.plan import PlannedModel
from src.stages.train.names import run_directory


def command_lines(jobs: StudyJobs) -> list[str]:
    """One line a run, in the order in which they can be run; lines that begin with # wait for a choice.

    Args:
        jobs: The study; nothing of it need exist yet.
    """
    grid = jobs.grid()
    return [*_making([*jobs.trained, *grid]), *_scoring(jobs, grid)]


def _making(models: list[PlannedModel]) -> Iterator[str]:
    for model in models:
        published = model.kind == "base" and is_published(model.job.cfg.model)
        yield f"# the base is {_place(model)}" if published else " ".join(model.job.command)


def _scoring(jobs: StudyJobs, grid: list[PlannedModel]) -> Iterator[str]:
    for split, models in (("validation", [*jobs.trained, *grid] if grid else []), ("test", jobs.trained)):
        for model in models:
            yield " ".join(jobs.evaluation(model, _place(model), split).command)
    for method in dict.fromkeys(model.method for model in grid):
        first = next(model for model in grid if model.method == method)
        line = " ".join(jobs.evaluation(first, "DIR", "test").command)
        yield f"# the best {method} on validation data: its line above without save_weights=false; {line}"
    if grid:
        yield f"# the mixture and these points: {' '.join(jobs.diagnosis({'NAME': 'DIR'}).command)}"


def _place(model: PlannedModel) -> str:
    """Where its checkpoint is, or will be."""
    cfg = model.job.cfg
    if model.kind == "merge":
        return str(merge_directory(model.job, build(cfg.merge)))
    published = model.kind == "base" and is_published(cfg.model)
    return str(cfg.model.path) if published else str(run_directory(model.job))
