"""`study.py`: the whole study, from the base model to the verdict and its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from src.evaluation.statistics.averages import RelativeScores
from src.evaluation.statistics.verdict import StudyVerdict, choose_point, decide
from src.reporting.sentences import verdict_sentence
from src.reporting.write import write_report
from src.runs.finished import open_finished
from src.runs.record import open_run
from src.stages.benchmarks import benchmark_nodes
from src.stages.build import build
from src.stages.diagnose import diagnose
from src.stages.evaluate.identity import item_hashes
from src.stages.job import Job, searchpath_of
from src.stages.study.checks import check_study
from src.stages.study.dry_run import command_lines
from src.stages.study.execute import StudyRuns, TrainedModel, relative_scores
from src.stages.study.jobs import StudyJobs
from src.stages.study.plan import PlannedModel, StudyPlan
from src.stages.study.progress import StudyProgress
from src.stages.study.report_input import benchmark_tasks, study_report
from src.utils.progress import say


def study(job: Job) -> Path:
    """Run the missing jobs of a study, choose coefficients on validation data, test once, decide and report.

    Returns:
        The run directory, with `report.html` and `report.md`.
    """
    cfg = job.cfg
    plan: StudyPlan = build(cfg.study)
    jobs = StudyJobs(plan, cfg.seed, cfg.output_root, searchpath_of(job.overrides))
    named = [plan.name, *job.extras(("study", "experiment", "seed", "dry_run"))]
    directory = job.directory("-".join([*named, *([f"s{cfg.seed}"] * bool(cfg.seed))]))
    if cfg.dry_run or open_finished(directory) is None:
        check_study(jobs, inputs=not cfg.dry_run)
    if cfg.dry_run:
        print("\n".join(command_lines(jobs)))
        return directory
    items = {f"{split} items": _item_hashes(jobs, split) for split in (*["validation"] * plan.mixture, "test")}
    with open_run(directory, stage="study", config=job.identity(), inputs=items, argv=job.command) as run:
        if not run.finished:
            with StudyProgress(plan) as progress:
                runs = StudyRuns(jobs, progress)
                if plan.mixture:
                    verdict = _carry_out(runs, run.work)
                    run.results |= {"winner": verdict.winner, "verdict": verdict_sentence(verdict)}
                else:
                    run.results |= {"scores": _score_specialists(runs, run.work)}
    say(f"{run.results.get('verdict', 'scores of the specialists')}\nreport: {directory / _main_file(plan)}")
    return directory


def _item_hashes(jobs: StudyJobs, split: str) -> dict[str, str]:
    """Hash the problems and rows that decide the study's scores: a report about others is another study."""
    nodes = benchmark_nodes(jobs.evaluation(jobs.trained[0], "DIR", split))
    return item_hashes(split, {name: build(node) for name, node in nodes.items()})


def _main_file(plan: StudyPlan) -> str:
    return "report.html" if plan.mixture else "scores.csv"


def _score_specialists(runs: StudyRuns, place: Path) -> list[dict[str, object]]:
    """Train and score base and specialists, for a table without mixture and merges."""
    trained = runs.train_all()
    tasks = benchmark_tasks(trained[0].model.job.cfg)
    scores = pd.concat([item.scores(tasks) for item in runs.evaluate_all(trained, "test")], ignore_index=True)
    scores.to_csv(place / "scores.csv", index=False)
    return [{str(key): value for key, value in row.items()} for row in scores.to_dict("records")]


def _carry_out(runs: StudyRuns, place: Path) -> StudyVerdict:
    jobs, plan = runs.jobs, runs.jobs.plan
    trained = runs.train_all()
    tasks = benchmark_tasks(trained[0].model.job.cfg)
    grid = runs.merge_points(jobs.grid)
    on_validation = runs.evaluate_all([*trained, *grid], "validation")
    validation = relative_scores(on_validation, tasks, plan)
    points = _choose(plan, grid, validation)
    chosen = dict(zip(points, runs.merge_points([_written(jobs, made) for made in points.values()]), strict=True))
    redrawn = runs.merge_points(_other_draws(jobs, chosen)) if plan.random_methods else []
    on_test = runs.evaluate_all([*trained, *chosen.values(), *redrawn], "test")
    test = relative_scores(on_test, tasks, plan)
    verdict = decide(test, "mixture", {method: made.model.name for method, made in chosen.items()})
    variants = {"mixture": trained[-1], **{made.model.name: made for made in chosen.values()}}
    diagnosis = diagnose(jobs.diagnosis({name: str(made.checkpoint) for name, made in variants.items()}))
    scores = {"validation": validation, "test": test}
    report = study_report(jobs, trained, grid, chosen, [*on_validation, *on_test], scores, verdict, diagnosis)
    write_report(report, place)
    return verdict


def _choose(plan: StudyPlan, grid: Sequence[TrainedModel], validation: RelativeScores) -> dict[str, TrainedModel]:
    """Choose the point of each method with the best average on validation data."""
    chosen = {}
    for method in (*plan.methods, *plan.methods_without_grid):
        points = {made.model.name: made for made in grid if made.model.method == method}
        chosen[method] = points[choose_point(validation, list(points))]
    return chosen


def _written(jobs: StudyJobs, made: TrainedModel) -> PlannedModel:
    """Plan a chosen point again with its weights on disk, so that any Hugging Face tool can load it."""
    model = made.model
    assert model.method is not None
    assert model.mask_seed is not None
    return jobs.merge_point(model.method, model.weight, model.mask_seed, save_weights=True)


def _other_draws(jobs: StudyJobs, chosen: Mapping[str, TrainedModel]) -> list[PlannedModel]:
    """Plan the chosen points of methods with random masks again with the other mask seeds."""
    points = [(method, chosen[method].model.weight) for method in jobs.plan.random_methods]
    return [
        jobs.merge_point(method, weight, mask_seed)
        for method, weight in points
        for mask_seed in jobs.plan.mask_seeds[1:]
        if weight is not None
    ]
