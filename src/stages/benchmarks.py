"""Compose benchmarks by name from conf/benchmark, so that a benchmark is one YAML file."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from omegaconf import DictConfig, OmegaConf

from src.config.checks import SPLITS
from src.stages.job import Job, compose_config
from src.utils.errors import UserError, unknown_choice


def with_split(job: Job) -> Job:
    """Fill in `split=` if it was not given: `test`, or the only split of `benchmark=`."""
    if job.cfg.split is not None:
        return job
    cfg = job.cfg.copy()
    splits = [] if cfg.benchmark is None else list(cfg.benchmark.get("splits", SPLITS))
    cfg.split = splits[0] if len(splits) == 1 else "test"
    return replace(job, cfg=cfg)


def benchmark_nodes(job: Job) -> dict[str, DictConfig]:
    """Return the nodes of the benchmarks to run, by name: `benchmark=`, else those of the tasks that have the split.

    `benchmarks.NAME.key=value` changes a benchmark. Names and keys are checked, even for benchmarks that are not run.

    Raises:
        UserError: None of the tasks' benchmarks has the split, or conf/benchmark has no such file.
        HydraException: A file has no such key.
    """
    cfg = job.cfg.copy()
    if cfg.benchmark is not None:
        _compose(job, [str(name) for name in cfg.benchmarks])
        OmegaConf.set_struct(cfg.benchmark, False)
        cfg.benchmark.merge_with(cfg.benchmarks.get(cfg.benchmark.name, {}))
        return _per_task(cfg) if "sources" in cfg.benchmark else {str(cfg.benchmark.name): cfg.benchmark}
    nodes = task_benchmarks(job)
    chosen = {name: node for name, node in nodes.items() if cfg.split in node.get("splits", SPLITS)}
    if not chosen:
        raise UserError(f"split={cfg.split}: none of the tasks' benchmarks ({', '.join(nodes)}) has this split")
    return chosen


def task_benchmarks(job: Job) -> dict[str, DictConfig]:
    """Return the nodes of all benchmarks of an evaluation's tasks, by name.

    Raises:
        UserError: conf/benchmark has no such file.
        HydraException: A file has no such key.
    """
    cfg = job.cfg.copy()
    names = [str(name) for task in cfg.tasks.values() for name in task.benchmarks[cfg.model.data]]
    cfg.benchmarks = _compose(job, dict.fromkeys([*map(str, cfg.benchmarks), *names]))
    if losses := [name for name in names if "sources" in cfg.benchmarks[name]]:
        raise UserError(
            f"tasks.*.benchmarks lists {losses[0]}, a loss of training rows, which is not averaged with scores; leave "
            f"it out and measure it by itself: benchmark={losses[0]}"
        )
    return {name: cfg.benchmarks[name] for name in names}


def _per_task(cfg: DictConfig) -> dict[str, DictConfig]:
    """The loss benchmark of `benchmark=` once per task, with the task's own sources unless it names others."""
    chosen = cfg.benchmark
    tasks = [str(task) for task in cfg.tasks]
    if chosen.task is not None and chosen.task not in tasks:
        raise unknown_choice("benchmark.task", str(chosen.task), tasks)
    nodes = {}
    for task in tasks if chosen.task is None else [str(chosen.task)]:
        node = chosen.copy()
        node.name, node.task = f"{chosen.name}_{task}", task
        if node.sources is None:
            found = cfg.tasks[task].sources[cfg.model.data]
            node.sources = [
                OmegaConf.to_container(source, resolve=True) for source in found.values() if source is not None
            ]
        nodes[str(node.name)] = node
    return nodes


def _compose(job: Job, names: Collection[str]) -> DictConfig:
    """Compose conf/benchmark files with all changes to them."""
    if not names:
        return OmegaConf.create()
    files = [f"+benchmark@benchmarks.{name}={name}" for name in names]
    # Hydra applies the typed overrides a second time, because only here does it know which keys exist. Changes from
    # YAML files (an experiment, a debug choice) are merged into the result, which does not accept unknown keys either.
    starts = ("benchmarks.", "hydra.searchpath=")
    typed = [override for override in job.overrides if override.lstrip("+~").startswith(starts)]
    composed: DictConfig = compose_config(None, [*files, *typed]).benchmarks
    composed.merge_with(job.cfg.benchmarks)
    return composed
