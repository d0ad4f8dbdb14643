"""`study.py report_only=true`: the report of finished runs again, or published results alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from src.reporting.published.tables import Published, read_published
from src.reporting.published.write import write_published
from src.runs.finished import open_finished, read_record
from src.runs.record import Run, open_run
from src.stages.job import Job
from src.stages.study.plan import StudyPlan
from src.utils.errors import UserError, unknown_choice
from src.utils.progress import say


def published_of(job: Job, plan: StudyPlan) -> tuple[Published, str] | None:
    """The results of `reference=`, and the name of the study's model in them; None without `reference=`.

    Raises:
        UserError: They cannot be read or hold no results of this model; or `papers=true` without `report_only=true`.
    """
    if job.cfg.papers and not job.cfg.report_only:
        raise UserError("papers=true belongs to report_only=true, which writes the report of a finished study again")
    if job.cfg.reference is None:
        return None
    published = read_published(str(job.cfg.reference))
    if plan.model not in published.models:
        raise unknown_choice(f"study.model of reference={job.cfg.reference}", plan.model, sorted(published.models))
    return published, published.models[plan.model]


def report_again(job: Job, plan: StudyPlan, directory: Path, report: Callable[[Run], None]) -> Path:
    """Write the report of a finished study once more, to `<directory>-report`; an earlier one is replaced.

    Args:
        job: The study with `report_only=true`.
        plan: Its plan.
        directory: Of the finished study.
        report: Collects the finished runs and writes their report into a run.

    Returns:
        The directory. Without a finished study it holds the page of the published results alone.

    Raises:
        UserError: There is neither a finished study nor `reference=`.
    """
    place = directory.with_name(f"{directory.name}-report")
    finished = open_finished(directory)
    if job.cfg.papers and finished is None:
        raise UserError(f"papers=true draws the figures of a finished study, and {directory} holds none")
    if finished is None and job.cfg.reference is None:
        again = " ".join(word for word in job.command if not word.startswith("report_only="))
        raise UserError(
            f"report_only=true: there is no finished study in {directory}. Run it: {again}; or add reference=paper for "
            "the page of the published results alone"
        )
    record = read_record(place)
    if record is not None and record.get("stage") == "report":
        shutil.rmtree(place)
    with open_run(place, stage="report", config=job.identity(), argv=job.command) as run:
        if finished is None:
            published = read_published(str(job.cfg.reference))
            command = f"python study.py study={plan.name} reference={job.cfg.reference}"
            write_published(published, run.work, command)
        else:
            report(run)
    say(f"report: {place / 'report.html'}")
    return place
