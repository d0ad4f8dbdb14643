"""`study.py logger=wandb logger.report=true` and `wandb_report=only`: the W&B Report of a study."""

from __future__ import annotations

import functools
from pathlib import Path

from src.runs.finished import open_finished
from src.stages.build import build
from src.stages.job import Job
from src.stages.study.names import study_directory, with_cell_settings
from src.stages.trackers import Stage
from src.tracking.wandb_report import report_plan, save_report
from src.tracking.wandb_run import wandb_mode
from src.utils.errors import UserError
from src.utils.progress import say


def with_wandb_report(stage: Stage) -> Stage:
    """Make the stage of a study that also saves its W&B Report, or with `wandb_report=only` nothing but that."""

    @functools.wraps(stage)
    def reported(job: Job) -> Path:
        if job.cfg.wandb_report not in (None, "only"):
            raise UserError(f"wandb_report: expected only or null, got {job.cfg.wandb_report!r}")
        if job.cfg.wandb_report == "only":
            return _only(job)
        wanted = bool((job.cfg.get("logger") or {}).get("report")) and not job.cfg.dry_run
        place = stage(job)
        if wanted:
            _after_study(place)
        return place

    return reported


def _only(job: Job) -> Path:
    """Save the Report of a finished study.

    Raises:
        UserError: The study is not finished or not in W&B, or W&B cannot be reached.
    """
    plan = build(job.cfg.study)
    job = with_cell_settings(job, plan)
    directory = study_directory(job, plan)
    if open_finished(directory) is None:
        raise UserError(f"wandb_report=only: {directory} is no finished study; run it first, with logger=wandb")
    say(f"W&B Report: {save_report(report_plan(directory))}")
    return directory


def _after_study(directory: Path) -> None:
    """Save the Report, or say how to make it once offline runs are uploaded; the study is complete either way."""
    if wandb_mode() != "online":
        say("W&B Report: upload the runs (wandb sync), then run the same command with wandb_report=only")
        return
    try:
        say(f"W&B Report: {save_report(report_plan(directory))}")
    except UserError as error:
        say(f"warning: {error}; the study is complete: wandb_report=only tries again")
