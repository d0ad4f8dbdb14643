"""`train.py preview=N` and `train.py dry_run=true`: show the rows and the plan of a training, and train nothing.

No weights are loaded or downloaded. Tokenized rows stay in the token cache, where training finds them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from src.config.checks import check_train
from src.data.copies import overlap_counts
from src.data.examples import join
from src.lit_modules.world import World, resolve_world
from src.models import ModelSpec
from src.reporting.console import print_lines
from src.reporting.training_rows import print_row_counts, print_rows
from src.stages.build import build
from src.stages.checkpoints import OF_ONE_TASK, STATISTICS, is_published
from src.stages.job import Job
from src.stages.train.base_files import base_files
from src.stages.train.names import run_directory
from src.stages.train.network import for_this_machine
from src.stages.train.options import TrainingOptions
from src.stages.train.plan import training_plan
from src.stages.train.prepared import PreparedRows, prepare_rows
from src.stages.train.rows import monitored_sources, task_sources
from src.stages.train.split_rows import SplitRows, source_rows
from src.stages.train.then_merge import jobs_by_task
from src.utils.errors import UserError
from src.utils.ranks import is_main_process


def dry_run(job: Job) -> None:
    """Print the rows (`preview=N`) and the plan (`dry_run=true`) of a command.

    Raises:
        UserError: The training would fail; with `dry_run=true` all its problems are printed before.
    """
    if not is_main_process():
        return
    check_train(job.cfg, OF_ONE_TASK)
    if job.cfg.strategy.name in STATISTICS:
        raise UserError(f"strategy={job.cfg.strategy.name} trains nothing; preview and dry_run show a training")
    jobs = list(jobs_by_task(job, "specialist").values()) if job.cfg.strategy.name == "merge" else [job]
    problems = [problem for one in jobs for problem in _described(one)]
    if problems:
        print_lines([f"problem: {problem}" for problem in problems])
        many = "s" * (len(problems) > 1)
        raise UserError(f"dry run: the training would fail, {len(problems)} problem{many} (above)")
    if job.cfg.dry_run:
        print_lines(["dry run: no problem found"])


def _described(job: Job) -> list[str]:
    """Print the rows and the plan of one training; returns its problems."""
    cfg, directory = job.cfg, run_directory(job)
    if cfg.strategy.name == "base" and is_published(cfg.model):
        print_lines([f"{cfg.model.name}: the base is the published {cfg.model.path}, nothing is trained"])
        return []
    model: ModelSpec = build(cfg.model)
    if cfg.strategy.name == "base" and model.is_drawn:
        print_lines([f"{directory}: random weights, nothing is trained"])
        return []
    print_lines([f"{directory}: {'finished, is not repeated' if directory.is_dir() else 'not trained yet'}"])
    options = TrainingOptions.of(cfg, model, directory.name)
    with tempfile.TemporaryDirectory() as temporary:
        origin = base_files(job, model, Path(temporary))
        rows = prepare_rows(job, model, task_sources(cfg, model.data, "train"), origin, options)
        if cfg.preview:
            _show_rows(rows, cfg.preview, options.fit.batches.max_length)
            _show_overlap(job, model, options)
        return list(_planned(job, model, origin, rows, options)) if cfg.dry_run else []


def _show_rows(rows: PreparedRows, count: int, max_length: int) -> None:
    for task, table in rows.train.items():
        print_rows(task, table, rows.tokenizer, count)
    splits = {"train": (rows.train, rows.train_counts), "validation": (rows.validation, rows.validation_counts)}
    for split, (tables, counts) in splits.items():
        for task, table in tables.items():
            print_row_counts(f"{task} {split}", table, counts[task], max_length)


def _show_overlap(job: Job, model: ModelSpec, options: TrainingOptions) -> None:
    """Print how many validation rows are copies of training rows, near copies included."""
    sources = task_sources(job.cfg, model.data, "train")
    monitored = monitored_sources(job.cfg, model.data)
    held_out = {task: source_rows(one, "validation") for task, one in monitored.items()}
    others = [[source] for one in monitored.values() for source in one]
    tasks = [SplitRows(one, "train", replace(options.data, limit=None), others) for one in sources.values()]
    train = join(rows.of(group) for rows in tasks for group in rows.groups)
    similarity = options.data.similarity
    for task, rows in held_out.items():
        counts = overlap_counts(train, rows, similarity)
        print_lines(
            [
                f"{task} validation: of {counts['rows']:,} rows, {counts['copies']:,} have the question of a training "
                f"row and {counts['near copies']:,} more share {similarity:.0%} of their 5-grams with one"
            ]
        )


def _planned(job: Job, model: ModelSpec, origin: Path, rows: PreparedRows, options: TrainingOptions) -> Iterator[str]:
    """Print the plan; yield what would stop the training."""
    trainer = options.fit.trainer
    world = World(trainer.devices if isinstance(trainer.devices, int) else 1, 1)
    try:
        world = resolve_world(trainer)
        model, chosen = for_this_machine(model, origin, options.fit, world)
        options = replace(options, fit=chosen)
    except UserError as error:
        yield str(error)
    plan = training_plan(model, origin, rows, options.fit, world, run_directory(job), Path(job.cfg.output_root))
    print_lines(plan.lines())
    if full := plan.room_error():
        yield str(full)
