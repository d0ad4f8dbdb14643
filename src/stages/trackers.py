"""Trackers of a job, as `logger=` names them: `logger=wandb`, `logger=[csv,tensorboard]`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from src.runs.record import Run
from src.stages.build import build
from src.stages.checkpoints import model_label
from src.stages.job import Job
from src.tracking.contents import Contents, run_config
from src.tracking.mirror import attempt, is_mirrored, mirror, open_live
from src.tracking.trackers import Header, LoggerTracker, Tracker
from src.utils.errors import UserError
from src.utils.files import read_json_object, write_json
from src.utils.ranks import is_main_process

Stage = Callable[[Job], Path]
PLACES = "trackers.json"  # in a run's scratch directory
METRICS = "metrics.jsonl"
TABLE = "csv"  # a logger of training steps alone: other scripts write their tables anyway


def tracked(stage: Stage) -> Stage:
    """Make a stage that also shows its finished run in the trackers of its job."""

    @functools.wraps(stage)
    def with_trackers(job: Job) -> Path:
        check_trackers(job)
        place = stage(job)
        mirror_job(job, place)
        return place

    return with_trackers


def mirror_job(job: Job, directory: Path, live: Mapping[str, Tracker] | None = None) -> None:
    """Show a finished run in the trackers of its job.

    Args:
        job: The job.
        directory: Its run directory.
        live: Trackers that have followed it.
    """
    nodes = {name: node for name, node in _nodes(job).items() if name != TABLE}
    if not nodes or job.cfg.get("dry_run") or is_mirrored(directory, nodes):
        return
    names = {"name": directory.name, "directory": str(directory), "record": str(directory / METRICS)}
    trackers = live or job_trackers(job, names)
    mirror(directory, {name: trackers[name] for name in nodes}, job_tags(job), bool(live))


class LiveTrackers:
    """Trackers that follow a training run, as a context: on leaving it, its directory is complete or the run failed.

    Args:
        job: A training job.
        directory: Its run directory.
    """

    def __init__(self, job: Job, directory: Path) -> None:
        self.job, self.directory = job, directory
        self.trackers: dict[str, Tracker] = {}

    def __enter__(self) -> LiveTrackers:
        return self

    def start(self, run: Run) -> None:
        """Open the trackers, or continue those of an interrupted attempt, whose places are kept in the run's scratch.

        Raises:
            UserError: One of them cannot be opened.
        """
        names = {"name": self.directory.name, "directory": str(run.work), "record": str(run.scratch / METRICS)}
        self.trackers = job_trackers(self.job, names)
        kept = run.scratch / PLACES
        places = read_json_object(kept) if kept.is_file() else {}
        header = Header(
            self.directory.name, self.job.script, job_tags(self.job), run_config(run.record, self.directory)
        )
        places = open_live(self.trackers, header, places)
        if places and is_main_process():
            write_json(kept, places)

    def show(self, contents: Callable[[], Contents]) -> None:
        """Show what is known before the first step; computed only if there is a tracker."""
        for name, tracker in self.trackers.items():
            if not isinstance(tracker, LoggerTracker):
                attempt(name, lambda tracker=tracker: tracker.show(contents()))  # type: ignore[misc]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            mirror_job(self.job, self.directory, self.trackers)
            return
        for name, tracker in self.trackers.items():
            attempt(name, lambda tracker=tracker: tracker.close(False))  # type: ignore[misc]


def check_trackers(job: Job) -> None:
    """Build the trackers of a job before hours of work, in a place where nothing is written.

    Raises:
        UserError: As `job_trackers`.
    """
    place = Path(job.cfg.output_root) / job.script / "unnamed"
    job_trackers(job, {"name": job.script, "directory": str(place), "record": str(place / METRICS)})


def job_trackers(job: Job, names: Mapping[str, str]) -> dict[str, Tracker]:
    """Build the nodes of `logger`; `csv` is a table of training steps, other scripts write their tables anyway.

    Args:
        job: The job.
        names: For `${run.name}`, `${run.directory}` and `${run.record}`, where the user has not set them.

    Raises:
        UserError: A node needs a library that is not installed, cannot be built, or is no logger.
    """
    if (job.cfg.get("logger") or {}).get("report") and job.script != "study":
        raise UserError(f"logger.report=true makes the W&B Report of a study; {job.script}.py has none")
    if not _nodes(job):
        return {}
    found = built("logger", named(job.cfg, **names))
    return {
        name: one if hasattr(one, "show") else LoggerTracker(one, name)
        for name, one in found.items()
        if name in _nodes(job)
    }


def job_tags(job: Job) -> tuple[str, ...]:
    """Words to find a run by: its script, model, strategy or merge method, tasks and split."""
    cfg = job.cfg
    words = [job.script]
    words += [model_label(cfg.model)] if "model" in cfg else []
    if job.script == "train":
        words += [str(cfg.strategy.name), *([str(cfg.task)] if cfg.task else [])]
    if job.script == "merge":
        words += [str(cfg.merge.get("_target_", "")).rpartition(".")[2]]
    if job.script == "evaluate":
        words += [str(cfg.split)] if cfg.split else []
    if job.script == "study":
        words += [str(cfg.study.name), str(cfg.study.model)]
    return tuple(dict.fromkeys(word for word in words if word))


def logger_overrides(overrides: Sequence[str], own: Sequence[str] = ()) -> list[str]:
    """The overrides of `logger`, which a job passes on to its own jobs, without keys that only it has."""
    found = []
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if key.partition(".")[0] == "logger" and key not in own:
            found.append(override)
    return found


def named(cfg: DictConfig, **names: str) -> DictConfig:
    """Copy a config with the given names in its node `run`, except where the user has set them."""
    given = {key: value for key, value in names.items() if cfg.run[key] is None}
    merged = OmegaConf.merge(cfg, {"run": given})
    assert isinstance(merged, DictConfig)
    return merged


def built(group: str, cfg: DictConfig) -> dict[str, Any]:
    """Build the nodes of conf/callbacks or conf/logger, by name.

    Raises:
        UserError: One of them needs a library that is not installed, or a logger cannot be built.
    """
    found = {}
    for name, node in (cfg[group] or {}).items():
        if not isinstance(node, DictConfig):  # switched off on the command line, or `report`
            continue
        try:
            found[str(name)] = build(node)
        except InstantiationException as error:
            if isinstance(error.__cause__, ModuleNotFoundError) or (group == "logger" and _is_foreign(error.__cause__)):
                raise UserError(f"{group}.{name}: {error.__cause__}") from error
            raise
    return found


def _nodes(job: Job) -> dict[str, Any]:
    """The loggers of the job's config; `csv` only knows training steps."""
    nodes = {str(name): node for name, node in (job.cfg.get("logger") or {}).items() if isinstance(node, DictConfig)}
    return {name: node for name, node in nodes.items() if name != TABLE or job.script == "train"}


def _is_foreign(error: BaseException | None) -> bool:
    """Return true for a tracker's own error: neither ours, nor about arguments that its class does not take."""
    return error is not None and not isinstance(error, (UserError, TypeError))
