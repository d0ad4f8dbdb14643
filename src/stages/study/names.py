"""Run directories of studies and of their cells."""

from __future__ import annotations

from pathlib import Path

from src.stages.job import Job, compose_job
from src.stages.study.cells import cell_override, cell_words, overrides_for
from src.stages.study.plan import StudyPlan

# keys that the name shows by itself
NAMED = (
    "study",
    "experiment",
    "seed",
    "dry_run",
    "report_only",
    "papers",
    "reference",
    "study.cell",
    "study.cells",
    "study.name",
)
OF_THE_WHOLE = ("study.cells", "study.points", "study.cell", "study.name", "executor", "output", "dry_run")


def study_directory(job: Job, plan: StudyPlan) -> Path:
    """Run directory of a study, or of the study of one cell."""
    own = [override.partition("=")[0] for override in overrides_for("study", plan.cell or {}, plan.axes, 1)]
    is_named = any(override.startswith("study.name=") for override in job.overrides)
    words = [plan.name, *([] if is_named else cell_words(plan.cell or {})), *job.extras((*NAMED, *own))]
    return job.directory("-".join([*words, *([f"s{job.cfg.seed}"] * bool(job.cfg.seed))]))


def cell_jobs(job: Job, plan: StudyPlan) -> list[Job]:
    """The jobs that run each cell of a study alone, one step after the other; named by the axes that vary."""
    cells = plan.all_cells
    kept = [override for override in job.overrides if not _is_of_the_whole(override)]
    varying = [axis for axis in cells[0] if len({cell[axis] for cell in cells}) > 1]
    found = []
    for cell in cells:
        words = "-".join([plan.name, *cell_words({axis: cell[axis] for axis in varying})])
        own = ["executor=serial", f"study.name={words}", "study.cells=null", cell_override(cell)]
        whole = overrides_for("study", cell, plan.axes, len(plan.tasks))
        found.append(compose_job("study", [*kept, *own, *whole]))
    return found


def with_cell_settings(job: Job, plan: StudyPlan) -> Job:
    """A job whose `study.cell` was typed, with the settings of the study that belong to the cell."""
    whole = overrides_for("study", plan.cell or {}, plan.axes, len(plan.tasks))
    missing = [override for override in whole if override not in job.overrides]
    return compose_job("study", [*job.overrides, *missing]) if missing else job


def _is_of_the_whole(override: str) -> bool:
    key = override.lstrip("+~").partition("=")[0]
    return any(key == name or key.startswith(f"{name}.") for name in OF_THE_WHOLE)
