"""All command lines of a study before any of them is run: `study.py plan_only=true`."""

from __future__ import annotations

from collections.abc import Iterator

from src.stages.build import build
from src.stages.merge.run import merge_directory
from src.stages.places import is_published
from src.stages.study.jobs import StudyJobs
from src.stages.study.plan import StudyModel
from src.stages.train.names import run_directory


def command_lines(jobs: StudyJobs) -> list[str]:
    """One line a run, in the order in which they can be run; lines that begin with # wait for a choice.

    Args:
        jobs: The study; nothing of it need exist yet.
    """
    grid = jobs.grid()
    return [*_making([*jobs.trained, *grid]), *_scoring(jobs, grid)]


def _making(subjects: list[StudyModel]) -> Iterator[str]:
    for subject in subjects:
        published = subject.kind == "base" and is_published(subject.job.cfg.model)
        yield f"# the base is {_place(subject)}" if published else " ".join(subject.job.command)


def _scoring(jobs: StudyJobs, grid: list[StudyModel]) -> Iterator[str]:
    for split, subjects in (("validation", [*jobs.trained, *grid] if grid else []), ("test", jobs.trained)):
        for subject in subjects:
            yield " ".join(jobs.evaluation(subject, _place(subject), split).command)
    for method in dict.fromkeys(subject.method for subject in grid):
        first = next(subject for subject in grid if subject.method == method)
        line = " ".join(jobs.evaluation(first, "DIR", "test").command)
        yield f"# the point of {method} that is best on validation data: its line above without write=false; {line}"
    if grid:
        yield f"# the mixture and these points: {' '.join(jobs.diagnosis({'NAME': 'DIR'}).command)}"


def _place(subject: StudyModel) -> str:
    """Where its checkpoint is, or will be."""
    cfg = subject.job.cfg
    if subject.kind == "merge":
        return str(merge_directory(subject.job, build(cfg.merge)))
    published = subject.kind == "base" and is_published(cfg.model)
    return str(cfg.model.path) if published else str(run_directory(subject.job))
