"""Compose benchmarks by name from conf/benchmark, so that a benchmark is one YAML file."""

from __future__ import annotations

from collections.abc import Collection

from omegaconf import DictConfig, OmegaConf

from src.config.checks import SPLITS
from src.stages.job import Job, compose_config
from src.utils.errors import UserError


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
        return {str(cfg.benchmark.name): cfg.benchmark}
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
    return {name: cfg.benchmarks[name] for name in names}


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
