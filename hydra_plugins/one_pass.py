"""Plugins of `merge.py -m`, in the package where Hydra looks for them: all jobs of a sweep go to one function.

Jobs with the same parents can then share the reading and the sparsifying.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper, BasicSweeperConf
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus, filter_overrides
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from src.config.sweep import SweepComposer
from src.stages.job import Job, searchpath_of
from src.utils.errors import UserError, first_differences
from src.utils.progress import say

ConfigStore.instance().store(
    group="hydra/launcher",
    name="one_pass",
    node={"_target_": "hydra_plugins.one_pass.OnePassLauncher"},
    provider="mixmerge",
)
ConfigStore.instance().store(
    group="hydra/sweeper",
    name="one_pass",
    node=BasicSweeperConf("hydra_plugins.one_pass.OnePassSweeper"),
    provider="mixmerge",
)


class OnePassSweeper(BasicSweeper):
    """Hydra's sweeper without its trial composition of every job: the launcher composes all before it starts."""

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        return None


class OnePassLauncher(Launcher):
    """`merge.py -m ...`: one pass over the parents, one run directory and one record per job."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.loader = hydra_context.config_loader
        self.config = config
        self.searchpath = searchpath_of(config.hydra.overrides.hydra)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        compose = SweepComposer(self._compose, self._is_group)
        jobs = [
            Job("merge", (*self.searchpath, *filter_overrides(overrides)), compose(overrides))
            for overrides in job_overrides
        ]
        if any(job.cfg.dry_run for job in jobs):
            from src.stages.merge.dry_run import dry_run

            dry_run(jobs)
            return [JobReturn(overrides=list(job.overrides), cfg=job.cfg, status=JobStatus.COMPLETED) for job in jobs]
        results = _results_of(jobs)
        for result in results:
            if not isinstance(result, UserError):
                say(f"merged {result}")
        failed = [
            f"{' '.join(job.overrides)}: {result}"
            for job, result in zip(jobs, results, strict=True)
            if isinstance(result, UserError)
        ]
        if failed:
            raise UserError(first_differences(f"{len(failed)} of {len(jobs)} merges failed", failed))
        return [
            JobReturn(overrides=list(job.overrides), cfg=job.cfg, status=JobStatus.COMPLETED, _return_value=result)
            for job, result in zip(jobs, results, strict=True)
        ]

    def _compose(self, overrides: list[str]) -> DictConfig:
        cfg = self.loader.load_sweep_config(self.config, overrides)
        with open_dict(cfg):
            del cfg["hydra"]
        return cfg

    def _is_group(self, name: str) -> bool:
        return bool(self.loader.get_group_options(name, overrides=self.searchpath))


def _results_of(jobs: Sequence[Job]) -> Sequence[Path | UserError]:
    if any(job.cfg.search is not None for job in jobs):
        from src.stages.search.run import merge_or_search_all  # optuna and the network take seconds to import

        return merge_or_search_all(jobs)
    from src.stages.merge.run import merge_all

    return merge_all(jobs)
