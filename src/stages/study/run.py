"""`study.py`: the whole question, from the base model to the verdict and its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from src.evaluation.statistics.bootstrap import Spread, spread
from src.evaluation.statistics.verdict import Verdict, choose_point, decide, study_averages
from src.reporting.write import write_report
from src.runs.record import open_run
from src.stages.build import build
from src.stages.diagnose import diagnose
from src.stages.job import Job
from src.stages.study.dry_run import command_lines
from src.stages.study.execute import ScoredModel, StudyRuns, TrainedModel, drawn_scores, item_scores
from src.stages.study.jobs import StudyJobs
from src.stages.study.plan import StudyModel, StudyPlan
from src.stages.study.progress import StudyProgress
from src.stages.study.report_input import benchmark_tasks, study_report
from src.utils.progress import say


def study(job: Job) -> Path:
    """Run what is missing of a study, choose coefficients on validation data, test once, decide, report.

    Returns:
        The run directory, with `report.html` and `report.md`.
    """
    cfg = job.cfg
    plan: StudyPlan = build(cfg.study)
    jobs = StudyJobs(plan, cfg.seed, cfg.output_root)
    named = [plan.name, *job.extras(("study", "experiment", "seed", "dry_run"))]
    directory = job.directory("-".join([*named, *([f"s{cfg.seed}"] * bool(cfg.seed))]))
    if cfg.dry_run:
        print("\n".join(command_lines(jobs)))
        return directory
    with open_run(directory, stage="study", config=job.identity(), argv=job.command) as run:
        if not run.finished:
            with StudyProgress(plan) as progress:
                runs = StudyRuns(jobs, progress)
                if plan.mixture:
                    verdict = _carry_out(runs, run.work)
                    run.results |= {"winner": verdict.winner, "verdict": verdict.sentence}
                else:
                    run.results |= {"scores": _score_specialists(runs, run.work)}
    say(f"{run.results.get('verdict', 'scores of the specialists')}\nreport: {directory / _main_file(plan)}")
    return directory


def _main_file(plan: StudyPlan) -> str:
    return "report.html" if plan.mixture else "scores.csv"


def _score_specialists(runs: StudyRuns, place: Path) -> list[dict[str, object]]:
    """Train and score what a table without mixture and merges has."""
    trained = runs.train_all()
    tasks = benchmark_tasks(trained[0].model.job.cfg)
    scores = pd.concat([item.scores(tasks) for item in runs.evaluate_all(trained, "test")], ignore_index=True)
    scores.to_csv(place / "scores.csv", index=False)
    return [{str(key): value for key, value in row.items()} for row in scores.to_dict("records")]


def _carry_out(runs: StudyRuns, place: Path) -> Verdict:
    jobs, plan = runs.jobs, runs.jobs.plan
    trained = runs.train_all()
    tasks = benchmark_tasks(trained[0].model.job.cfg)
    grid = runs.merge_points(jobs.grid())
    specialists = {made.model.task: made.model.name for made in trained if made.model.task is not None}
    validation = runs.evaluate_all([*trained, *grid], "validation")
    chosen = _choose(plan, grid, validation, specialists, tasks)
    chosen = dict(zip(chosen, runs.merge_points([_written(jobs, made) for made in chosen.values()]), strict=True))
    redrawn = runs.merge_points(_other_draws(jobs, chosen)) if plan.random_methods else []
    test = runs.evaluate_all([*trained, *chosen.values(), *redrawn], "test")
    verdict = decide(
        item_scores(test),
        mixture="mixture",
        merges={method: made.model.name for method, made in chosen.items()},
        specialists=specialists,
        tasks=tasks,
        metrics=plan.metrics,
    )
    variants = {"mixture": trained[-1], **{made.model.name: made for made in chosen.values()}}
    diagnosis = diagnose(jobs.diagnosis({name: str(made.checkpoint) for name, made in variants.items()}))
    spreads = {method: _mask_spread(method, test, specialists, tasks, plan) for method in plan.random_methods}
    report = study_report(jobs, trained, grid, chosen, [*validation, *test], verdict, diagnosis, tasks, spreads)
    write_report(report, place)
    return verdict


def _choose(
    plan: StudyPlan,
    grid: Sequence[TrainedModel],
    validation: Sequence[ScoredModel],
    specialists: Mapping[str, str],
    tasks: Mapping[str, str],
) -> dict[str, TrainedModel]:
    """Of each method the point with the best average on validation data; of a method without a grid its only point."""
    scores = item_scores(validation)
    chosen = {}
    for method in (*plan.methods, *plan.methods_without_grid):
        points = {made.model.name: made for made in grid if made.model.method == method}
        chosen[method] = points[choose_point(scores, list(points), specialists, tasks, plan.metrics)]
    return chosen


def _written(jobs: StudyJobs, made: TrainedModel) -> StudyModel:
    """A chosen point with its weights on disk, for any Hugging Face tool to load."""
    model = made.model
    assert model.method is not None
    assert model.mask_seed is not None
    return jobs.merge_point(model.method, model.weight, model.mask_seed, save_weights=True)


def _mask_spread(
    method: str, test: Sequence[ScoredModel], specialists: Mapping[str, str], tasks: Mapping[str, str], plan: StudyPlan
) -> Spread:
    """How the chosen point's average on test data moves with the seed of its masks."""
    draws = drawn_scores(test, method)
    averages = study_averages({**item_scores(test), **draws}, specialists, tasks, plan.metrics)
    return spread([averages[name].mean for name in draws])


def _other_draws(jobs: StudyJobs, chosen: Mapping[str, TrainedModel]) -> list[StudyModel]:
    """The chosen points of methods with random masks, under the other mask seeds."""
    points = [(method, chosen[method].model.weight) for method in jobs.plan.random_methods]
    return [
        jobs.merge_point(method, weight, mask_seed)
        for method, weight in points
        for mask_seed in jobs.plan.mask_seeds[1:]
        if weight is not None
    ]
