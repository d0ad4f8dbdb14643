"""`train.py`: one fine-tuning run, from the base checkpoint to an exported one."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from src.checkpoints import Checkpoint
from src.checkpoints.fingerprint import fingerprint
from src.config.checks import check_train
from src.lit_modules.datamodule import TrainingRows
from src.lit_modules.export import export_checkpoint
from src.lit_modules.fit import METRICS, FitResult, fit
from src.lit_modules.loggers import TrackerLogger
from src.lit_modules.trainer import trained_rows
from src.lit_modules.world import connected, resolve_world, started_world
from src.models import ModelSpec, torch_dtype
from src.runs.lock import waiting_for_others
from src.runs.record import Run, open_run
from src.stages.build import build
from src.stages.checkpoints import OF_ONE_TASK, STATISTICS, base_checkpoint, is_published
from src.stages.job import Job, compose_job
from src.stages.trackers import LiveTrackers
from src.stages.train.generation import prepare_generation
from src.stages.train.launch import launch_ranks, once, open_shared_run
from src.stages.train.merge_statistics import statistics
from src.stages.train.names import base_overrides, run_directory, run_identity
from src.stages.train.network import for_this_machine, training_network
from src.stages.train.options import TrainingOptions
from src.stages.train.plan import announce, training_plan
from src.stages.train.prepared import prepare_rows
from src.stages.train.random_base import write_random_base
from src.stages.train.rows import rows_as_text, task_sources
from src.stages.train.split_rows import source_rows
from src.stages.train.then_merge import specialists_then_merge
from src.tracking.contents import Contents
from src.tracking.trackers import LoggerTracker
from src.utils.ranks import from_main, is_main_process, wait_for_all

DRAWN = (
    "path",
    "tokenizer",
    "revision",
    "data",
    "init",
    "shrink",
    "architecture",
    "context_length",
    "dtype",
    "eos_token",
)


def train(job: Job, show_plan: bool = True) -> Path:
    """Train one model, or with `strategy=merge` every missing specialist and then their merge.

    Args:
        job: Of `train.py`.
        show_plan: Print steps, time and disk before the start; a study, which has its own progress, does not.

    Returns:
        The run directory, which is the exported checkpoint (with `strategy=fisher|regmean` that of the statistics).
    """
    check_train(job.cfg, OF_ONE_TASK)
    with connected(build(job.cfg.trainer)):
        if job.cfg.strategy.name in STATISTICS:
            return once(lambda: statistics(job))
        if job.cfg.strategy.name == "merge":
            return specialists_then_merge(job, _make_missing)
        return _train_one(job, show_plan)


def _train_one(job: Job, show_plan: bool) -> Path:
    cfg = job.cfg
    model: ModelSpec = build(cfg.model)
    if cfg.strategy.name == "base" and model.path is not None:
        return once(lambda: _published_base(job, model))
    directory = run_directory(job)
    options = TrainingOptions.of(cfg, model, directory.name)  # first: an error in them then leaves nothing behind
    world = resolve_world(options.fit.trainer)
    model, chosen = for_this_machine(model, None if cfg.base is None else Path(cfg.base), options.fit, world)
    options = replace(options, fit=chosen)
    start = _start(job, model)
    if world.size > 1 and started_world() is None:
        launch_ranks(job, world)
        return directory
    identity = run_identity(job)
    with (
        LiveTrackers(job, directory) as trackers,
        open_shared_run(
            directory,
            stage="train",
            config=identity,
            inputs=lambda: {} if start is None else {"base": fingerprint(start)},
            argv=job.command,
        ) as run,
    ):
        if run.finished:
            return directory
        trackers.start(run)
        run.results |= _fit(job, model, start, run, options, trackers, show_plan)
    return directory


def _fit(
    job: Job,
    model: ModelSpec,
    start: Path | None,
    run: Run,
    options: TrainingOptions,
    trackers: LiveTrackers,
    show_plan: bool,
) -> dict[str, Any]:
    cfg = job.cfg
    sources = task_sources(cfg, model.data, "train")
    origin = start or _untrained(cfg, sources["base"], run.scratch / "untrained")
    prepared = prepare_rows(job, model, sources, origin, options)
    tokenizer = prepared.tokenizer
    plan = training_plan(
        model, origin, prepared, options.fit, resolve_world(options.fit.trainer), run.directory, Path(cfg.output_root)
    )
    announce(plan, show_plan)
    prepare_generation(job, options.callbacks, tokenizer)
    padding = int(tokenizer.pad_token_id or 0)  # never attended to and never a target
    rows = TrainingRows(prepared.train, prepared.validation, padding)
    trackers.show(lambda: Contents(tables={"rows": rows_as_text(prepared.train, tokenizer)}))
    network, kernels = training_network(model, origin, options.fit)
    base = Checkpoint(origin)
    result: FitResult = fit(
        network, rows, options.fit, run.scratch, base=base, callbacks=options.callbacks, loggers=_loggers(trackers)
    )
    published = model.path if cfg.base is None and is_published(cfg.model) else None
    dtype = torch_dtype(model.dtype)
    export_checkpoint(network, tokenizer, run.work, dtype, None if model.adapter is None else base, published)
    if is_main_process():
        shutil.copy(run.scratch / METRICS, run.work / METRICS)
    counts = {task: asdict(found) for task, found in prepared.train_counts.items()}
    found = {**asdict(result), **plan.record(), "lengths": counts, "kernels": kernels}
    found["data"] = {
        task: {"sha256": sha, "rows": len(prepared.train[task])} for task, sha in trained_rows(run.scratch).items()
    }
    return found | ({} if start is None else {"parents": {"base": str(start.absolute())}})


def _loggers(trackers: LiveTrackers) -> list[Any]:
    """Lightning loggers that pass each row to the trackers."""
    found = trackers.trackers.values()
    return [one.logger if isinstance(one, LoggerTracker) else TrackerLogger(one) for one in found]


def _start(job: Job, model: ModelSpec) -> Path | None:
    """The checkpoint to start from; a base that this repository trains itself is trained first if it is missing."""
    cfg = job.cfg
    if cfg.strategy.name == "base":
        return None
    if cfg.base is None and (model.path is None or model.is_drawn):
        _make_missing(compose_job("train", base_overrides(job, model)))
    return base_checkpoint(cfg)


def _published_base(job: Job, model: ModelSpec) -> Path:
    """A base that is not pretrained here: the published checkpoint, or random weights instead."""
    if not model.is_drawn:
        return base_checkpoint(job.cfg)
    directory = run_directory(job)
    node = OmegaConf.to_container(job.cfg.model, resolve=True)
    assert isinstance(node, dict)
    identity = {"model": {key: node[key] for key in DRAWN}, "seed": job.cfg.seed}
    with open_run(directory, stage="train", config=identity, argv=job.command) as run:
        if not run.finished:
            rows = build(job.cfg.strategy.source).examples("train") if model.data == "pocket" else []
            write_random_base(model, rows, job.cfg.seed, run.work)
    return directory


def _make_missing(job: Job) -> Path:
    """Train a model if its run directory does not exist yet."""
    directory = run_directory(job)
    if from_main(directory.is_dir()):
        return directory
    with waiting_for_others():  # jobs of a sweep that want the same base or specialist
        return train(job)


def _untrained(cfg: DictConfig, sources: list[Any], directory: Path) -> Path:
    """Create the tokenizer and random weights; a resumed run reuses those of its first attempt."""
    if is_main_process() and not directory.is_dir():
        rows = source_rows(sources, "train")
        built = build(cfg.strategy.architecture).write(directory.with_suffix(".building"), rows, seed=cfg.seed)
        built.rename(directory)
    wait_for_all()
    return directory
