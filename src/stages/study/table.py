"""A study with cells: the training that its cells share, then the study of each, as rows of one table."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from src.config.quoting import quote_path
from src.evaluation.preflight.finding import Finding
from src.reporting.cells import CellResult, cell_lines, cells_summary, write_cells
from src.runs.finished import open_finished
from src.runs.record import open_run
from src.stages.build import build
from src.stages.job import Job, searchpath_of
from src.stages.study.checks import check_study, check_training
from src.stages.study.dry_run import summary_lines, training_lines
from src.stages.study.estimate import evaluation_seconds
from src.stages.study.jobs import StudyJobs
from src.stages.study.names import cell_jobs, study_directory
from src.stages.study.plan import StudyPlan
from src.stages.study.progress import StudyProgress
from src.stages.study.schedule import run_steps
from src.stages.study.steps import training_steps
from src.stages.study.subsets import write_law
from src.stages.study.work import Stage, Step
from src.stages.trackers import logger_overrides
from src.utils.files import write_text
from src.utils.progress import say


def study_cells(job: Job, plan: StudyPlan, study_each: Stage) -> Path:
    """Run every cell of a study and write their table.

    Args:
        job: The whole study.
        plan: Its plan.
        study_each: Runs the studies of cells.

    Returns:
        The run directory, with `cells.csv` and `report.html`; each cell has its own beside it.

    Raises:
        UserError: A cell failed; the others are finished, and the same command goes on.
    """
    cells = cell_jobs(job, plan)
    jobs = [study_jobs(cell) for cell in cells]
    directory = study_directory(job, plan)
    if job.cfg.dry_run or open_finished(directory) is None:
        check_study(jobs[0], inputs=not job.cfg.dry_run)
        check_training(jobs[1:])
    if job.cfg.dry_run:
        lines = [*training_lines(jobs), *(" ".join(cell.command) for cell in cells), *summary_lines(jobs)]
        print("\n".join(lines))
        return directory
    with open_run(directory, stage="study", config=job.identity(), argv=job.command) as run:
        if not run.finished:
            with contextlib.closing(build(job.cfg.executor)) as executor:
                steps = [step for own, cell in zip(jobs, cells, strict=True) for step in _steps(own, cell, study_each)]
                results = run_steps(steps, executor, StudyProgress())
                results.require()
            places = [results.places[step.key][0] for step in steps if step.kind == "study"]
            rows = [_row(own, cell, place, directory) for own, cell, place in zip(jobs, cells, places, strict=True)]
            write_cells(plan.title, rows, run.work)
            if plan.predict:
                write_text(
                    run.work / "atlas.csv", pd.DataFrame([row.results["atlas"] for row in rows]).to_csv(index=False)
                )
            run.results |= {"cells": [*cells_summary(rows), *cell_lines(rows)]}
            run.results |= {"law": write_law(places, run.work)} if plan.subsets else {}
            run.results |= {"used": [str(place.absolute()) for place in places]}
    for line in [*run.results["cells"], *run.results.get("law", [])]:
        say(line)
    say(f"table: {directory / 'cells.csv'}\nreport: {directory / 'report.html'}")
    return directory


def result_of(results: Mapping[str, object]) -> str:
    """The result of a study in words, from its record."""
    return str(results.get("verdict") or results.get("losses") or "scores of the specialists")


def study_jobs(job: Job) -> StudyJobs:
    """The jobs of a study's command."""
    plan: StudyPlan = build(job.cfg.study)
    passed_on = [*searchpath_of(job.overrides), *_loggers(job, plan)]
    return StudyJobs(plan, job.cfg.seed, job.cfg.output_root, passed_on)


def _loggers(job: Job, plan: StudyPlan) -> list[str]:
    """The trackers of a study for its jobs, in a group of its name; cells share it, since they share training runs."""
    node = (job.cfg.get("logger") or {}).get("wandb")
    group = [] if node is None or node.group is not None else [quote_path(f"logger.wandb.group={plan.name}")]
    return [*logger_overrides(job.overrides, own=("logger.report",)), *group]


def _steps(jobs: StudyJobs, cell: Job, study_each: Stage) -> Sequence[Step]:
    """The training of a cell, which other cells may share, and its study."""
    training = training_steps(jobs)
    points = len(jobs.plan.methods) * len(jobs.plan.weights) * len(jobs.seeds)
    seconds = evaluation_seconds(jobs.base.job) * (points + 10)
    label = " ".join(f"{axis}={value}" for axis, value in (jobs.plan.cell or {}).items())
    return [*training, Step("study", label, study_each, (cell,), tuple(step.key for step in training), seconds)]


def _row(jobs: StudyJobs, cell: Job, place: Path, table: Path) -> CellResult:
    run = open_finished(place)
    assert run is not None
    where = os.path.relpath(place, table)
    found = [Finding(**row) for row in run.results.get("findings", [])]
    above = [f"{finding.severity}: {finding.sentence}" for finding in found if finding.severity != "note"]
    return CellResult(
        dict(jobs.plan.cell or {}),
        where,
        "\n".join([*above, result_of(run.results)]),
        run.results,
        " ".join(cell.command),
    )
