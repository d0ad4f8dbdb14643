"""`train.py`: one fine-tuning run, from the base checkpoint to an exported one."""

from __future__ import annotations

import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from src.config.checks import check_train
from src.data.examples import Example
from src.lit_modules.export import export_checkpoint
from src.lit_modules.fit import FitResult, fit
from src.lit_modules.options import BatchOptions, CheckpointOptions, OptimizerOptions, TrainerOptions
from src.models import ModelSpec, load_model, load_tokenizer, torch_dtype
from src.reporting.loggers import Logger
from src.reporting.records import Run, fingerprint, open_run
from src.stages.build import build
from src.stages.job import Job, compose_job
from src.stages.merge import merge
from src.stages.places import base_checkpoint, model_label, trained_name
from src.stages.random_base import write_random_base

OWN_KEYS = {"strategy", "task", "output", "merge"}  # of a run; all others are handed on to the runs that come first


def train(job: Job) -> Path:
    """Train one model, or with `strategy=merge` every missing specialist and then their merge.

    Returns:
        The run directory, which is the exported checkpoint.
    """
    cfg = job.cfg
    check_train(cfg)
    if cfg.strategy.name == "merge":
        return _specialists_then_merge(job)
    model: ModelSpec = build(cfg.model)
    if cfg.strategy.name == "base" and model.path is not None:
        return _published_base(job, model)
    options = _options(cfg)  # before anything is opened: a mistake in them leaves nothing behind
    directory = run_directory(job)
    start = _start(job, model)
    inputs = {} if start is None else {"base": fingerprint(start)}
    identity = _identity(job)
    with open_run(directory, stage="train", config=identity, inputs=inputs, argv=job.command) as run:
        if run.finished:
            return directory
        logger: Logger = build(cfg.logger)
        logger.start(directory.name, identity, run.work)
        run.results |= asdict(_fit(job, model, start, run, logger, options))
        logger.finish(run.work / "metrics.jsonl", run.results)
    return directory


@dataclass(frozen=True)
class Options:
    """The instantiated nodes of a training run."""

    optimizer: OptimizerOptions
    batches: BatchOptions
    trainer: TrainerOptions
    checkpoints: CheckpointOptions


def _options(cfg: DictConfig) -> Options:
    return Options(
        build(cfg.optimizer, lr=cfg.strategy.learning_rate),
        _batches(cfg.strategy),
        build(cfg.trainer),
        CheckpointOptions(),
    )


def _fit(job: Job, model: ModelSpec, start: Path | None, run: Run, logger: Logger, options: Options) -> FitResult:
    cfg = job.cfg
    train_rows = _rows(cfg, model.world, "train")
    origin = start or _untrained(cfg, train_rows["base"], run.scratch / "untrained")
    tokenizer = load_tokenizer(origin, chat_template=model.chat_template, eos_token=model.eos_token)
    network = load_model(origin, attention=model.attention)
    result = fit(
        network,
        tokenizer,
        train_rows,
        _rows(cfg, model.world, "validation"),
        work_dir=run.scratch,
        optimizer=options.optimizer,
        batches=options.batches,
        trainer=options.trainer,
        checkpoints=options.checkpoints,
        seed=cfg.seed,
        on_record=logger.record,
        description=run_directory(job).name,
    )
    export_checkpoint(network, tokenizer, run.work, torch_dtype(model.dtype))
    shutil.copy(run.scratch / "metrics.jsonl", run.work / "metrics.jsonl")
    return result


def _start(job: Job, model: ModelSpec) -> Path | None:
    """The checkpoint to start from; a base that this repository makes itself is made first where it is missing."""
    cfg = job.cfg
    if cfg.strategy.name == "base":
        return None
    if cfg.base is None and (model.path is None or model.is_drawn):
        _make_missing(compose_job("train", ["strategy=base", *_handed_on(job)]))
    return base_checkpoint(cfg)


def _published_base(job: Job, model: ModelSpec) -> Path:
    """A base that is not pretrained here: where it lies, or random weights in its place."""
    if not model.is_drawn:
        return base_checkpoint(job.cfg)
    directory = run_directory(job)
    identity = {"model": OmegaConf.to_container(job.cfg.model, resolve=True), "seed": job.cfg.seed}
    with open_run(directory, stage="train", config=identity, argv=job.command) as run:
        if not run.finished:
            rows = build(job.cfg.strategy.source).examples("train") if model.world == "pocket" else []
            write_random_base(model, rows, job.cfg.seed, run.work)
    return directory


def _make_missing(job: Job) -> None:
    """Train what does not stand in its place yet; what stands there is taken as it is."""
    if not run_directory(job).is_dir():
        train(job)


def _untrained(cfg: DictConfig, rows: list[Example], directory: Path) -> Path:
    """Tokenizer and random weights; after an interruption those that were drawn before."""
    if not directory.is_dir():
        built = build(cfg.strategy.architecture)(directory.with_suffix(".building"), rows, seed=cfg.seed)
        built.rename(directory)
    return directory


def _specialists_then_merge(job: Job) -> Path:
    for task in job.cfg.tasks:
        _make_missing(compose_job("train", ["strategy=specialist", f"task={task}", *_handed_on(job)]))
    shared = ("merge", "model", "seed", "output", "output_root")
    return merge(compose_job("merge", [override for override in job.overrides if _root_key(override) in shared]))


def _handed_on(job: Job) -> list[str]:
    return [override for override in job.overrides if _root_key(override) not in OWN_KEYS]


def _root_key(override: str) -> str:
    """`merge` of `+merge.weight=0.3`."""
    return re.split(r"[.=@]", override.lstrip("+~"), maxsplit=1)[0]


def run_directory(job: Job) -> Path:
    """Where a training job leaves its checkpoint."""
    cfg = job.cfg
    task = cfg.task.name if cfg.strategy.name == "specialist" else None
    extras = job.extras(("model", "strategy", "task", "seed"))
    return job.directory(trained_name(model_label(cfg.model), cfg.strategy.name, task, cfg.seed, extras))


def _identity(job: Job) -> dict[str, object]:
    """What decides the weights: no merge settings, and of the tasks those that are trained on."""
    identity = job.identity()
    identity.pop("merge")
    if job.cfg.strategy.name != "specialist":
        identity.pop("task")
    return identity


def _rows(cfg: DictConfig, world: str, split: str) -> dict[str, list[Example]]:
    """Rows by task: those of the strategy for training, those of every task for validation."""
    if cfg.strategy.name == "base":
        return {"base": build(cfg.strategy.source).examples(split)}
    if cfg.strategy.name == "specialist" and split == "train":
        return {cfg.task.name: _task_rows(cfg.task, world, split)}
    return {str(name): _task_rows(task, world, split) for name, task in cfg.tasks.items()}


def _task_rows(task: DictConfig, world: str, split: str) -> list[Example]:
    sources = task.sources[world]
    nodes = [sources] if isinstance(sources, DictConfig) else sources
    return [example for node in nodes for example in build(node).examples(split)]


def _batches(strategy: DictConfig) -> BatchOptions:
    return BatchOptions(
        micro_batch=strategy.micro_batch,
        accumulation=-(-strategy.batch_size // strategy.micro_batch),
        max_length=strategy.max_length,
        steps=strategy.steps,
        epochs=None if strategy.steps is not None else strategy.epochs,
        over_length=strategy.over_length,
    )
