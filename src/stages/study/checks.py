"""Check all jobs of a study before the first of them runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import Any

from src.config.checks import check_evaluate, check_train
from src.config.command_line import explain
from src.models import ModelSpec
from src.stages.benchmarks import benchmark_nodes
from src.stages.build import build, build_once
from src.stages.checkpoints import OF_ONE_TASK, base_checkpoint, trained_directories
from src.stages.evaluate.point_losses import PointLosses
from src.stages.job import Job
from src.stages.merge.statistics_inputs import needed_statistics
from src.stages.study.jobs import StudyJobs
from src.stages.train.options import TrainingOptions
from src.stages.train.rows import task_sources
from src.utils.errors import UserError

Check = Callable[[], object]


def check_study(jobs: StudyJobs, inputs: bool) -> None:
    """Compose every job of a study and check its settings.

    Args:
        jobs: The study.
        inputs: Whether the files that the jobs read must already exist.

    Raises:
        UserError: With the problems of all jobs, each listed once.
    """
    if problems := jobs.plan.task_problems(jobs.tasks):
        raise UserError("; ".join(problems))
    _all_pass(chain(_training_checks(jobs), _merge_checks(jobs, inputs)))
    _all_pass(chain(_evaluation_checks(jobs), _loss_checks(jobs) if inputs else ()))
    if inputs:  # last: a mistyped key is then reported at once
        _all_pass(_input_checks(jobs))


def _all_pass(checks: Iterable[Check]) -> None:
    problems = []
    for check in checks:
        try:
            check()
        except Exception as error:
            line = explain(error)
            if line is None:
                raise
            problems.append(line)
    if problems:
        raise UserError("; ".join(dict.fromkeys(problems)))


def check_training(studies: Iterable[StudyJobs]) -> None:
    """Compose the training of further cells of a checked study and check its settings.

    Raises:
        UserError: With the problems of all, each listed once.
    """
    _all_pass(check for jobs in studies for check in _training_checks(jobs))


def _training_checks(jobs: StudyJobs) -> Iterator[Check]:
    for model in jobs.trained:
        yield partial(_check_training, model.job)


def _check_training(job: Job) -> None:
    check_train(job.cfg, OF_ONE_TASK)
    model: ModelSpec = build(job.cfg.model)
    if job.cfg.strategy.name != "base" or model.path is None:
        TrainingOptions.of(job.cfg, model)
        task_sources(job.cfg, model.data, "validation")


def _merge_checks(jobs: StudyJobs, inputs: bool) -> Iterator[Check]:
    for model in jobs.grid:
        yield partial(jobs.checkpoint, model)  # builds the recipe and names its coefficients
        kind = needed_statistics(model.job.cfg)
        if inputs and kind is not None:
            yield partial(trained_directories, model.job.cfg, kind, jobs.tasks)


def _evaluation_checks(jobs: StudyJobs) -> Iterator[Check]:
    """Evaluations of trained models differ only in the checkpoint, as do those of merges: one of each is checked."""
    for split in jobs.plan.splits:
        for model in (*jobs.trained[:1], *jobs.grid[:1]):
            yield partial(_check_evaluation, jobs.evaluation(model, jobs.checkpoint(model), split))


def _loss_checks(jobs: StudyJobs) -> Iterator[Check]:
    if jobs.plan.choice != "generate" or jobs.plan.subsets:
        yield partial(PointLosses.of, jobs.losses)
    for method in jobs.plan.subsets:
        yield partial(jobs.merge_settings, method)


def _check_evaluation(job: Job) -> None:
    check_evaluate(job.cfg)
    for node in (job.cfg.generator, job.cfg.sandbox, *benchmark_nodes(job).values()):
        build_once(node)


def _input_checks(jobs: StudyJobs) -> Iterator[Check]:
    base = jobs.trained[0]
    if jobs.is_published(base):
        yield partial(base_checkpoint, base.job.cfg)
    seen = list[tuple[Any, str]]()
    for model in jobs.trained[1:]:
        for split in ("train", "validation"):
            for source in chain(*task_sources(model.job.cfg, model.job.cfg.model.data, split).values()):
                if hasattr(source, "fingerprint") and (source, split) not in seen:
                    seen.append((source, split))
                    yield partial(source.fingerprint, split)  # finds the files without reading their rows
    for split in jobs.plan.splits:
        for node in benchmark_nodes(jobs.evaluation(base, jobs.checkpoint(base), split)).values():
            yield partial(build_once(node).prompts, split)
