"""All command lines of a study, printed instead of run: `study.py dry_run=true`."""

from __future__ import annotations

from collections.abc import Iterator

from src.stages.study.jobs import StudyJobs


def command_lines(jobs: StudyJobs) -> list[str]:
    """One line per run, in an order in which they can be run; lines that begin with # depend on chosen coefficients.

    Args:
        jobs: The study; none of its runs need exist yet.
    """
    return [*_making(jobs), *_scoring(jobs)]


def _making(jobs: StudyJobs) -> Iterator[str]:
    for model in [*jobs.trained, *jobs.grid]:
        yield f"# the base is {jobs.checkpoint(model)}" if jobs.is_published(model) else " ".join(model.job.command)


def _scoring(jobs: StudyJobs) -> Iterator[str]:
    grid = jobs.grid
    generated = grid if jobs.plan.choice == "generate" else []
    for split, models in (("validation", [*jobs.trained, *generated] if grid else []), ("test", jobs.trained)):
        for model in models:
            yield " ".join(jobs.evaluation(model, jobs.checkpoint(model), split).command)
    if grid and not generated:
        yield f"# losses of all these models, in one pass: {' '.join(jobs.losses.command)} checkpoint=DIR"
        line = " ".join(jobs.evaluation(grid[0], "DIR", "validation").command)
        yield f"# the merges that they choose (study.generations={jobs.plan.generations}): {line}"
    for method in dict.fromkeys(model.method for model in grid):
        first = next(model for model in grid if model.method == method)
        line = " ".join(jobs.evaluation(first, "DIR", "test").command)
        yield f"# the best {method} on validation data: its line above without save_weights=false; {line}"
    if grid:
        yield f"# the mixture and these points: {' '.join(jobs.diagnosis({'NAME': 'DIR'}).command)}"
