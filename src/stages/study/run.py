"""`study.py`: the whole study, from the base model to the verdict and its report."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig

from src.config.checks import check_preflight
from src.evaluation.preflight.finding import Finding
from src.evaluation.statistics.verdict import choose_point, decide
from src.reporting.console import print_study
from src.reporting.first_screen import headline_words
from src.reporting.published.tables import Published
from src.reporting.study_report import StudyReport
from src.reporting.verdict_sentences import verdict_record
from src.reporting.write import write_for_papers, write_report
from src.runs.finished import open_finished
from src.runs.record import Run, open_run
from src.stages.benchmarks import benchmark_nodes
from src.stages.build import build
from src.stages.compare.run import PAGE
from src.stages.evaluate.identity import item_hashes
from src.stages.job import Job
from src.stages.study.atlas import atlas_row
from src.stages.study.cards import write_cards
from src.stages.study.checks import check_study
from src.stages.study.choice import choose
from src.stages.study.dry_run import command_lines, summary_lines
from src.stages.study.execute import StudyRuns, relative_scores
from src.stages.study.jobs import StudyJobs
from src.stages.study.names import study_directory, with_cell_settings
from src.stages.study.plan import PlannedModel, StudyPlan
from src.stages.study.preflight import check_plan, check_runs, tell
from src.stages.study.problem_page import all_answers, write_problem_page
from src.stages.study.progress import StudyProgress
from src.stages.study.report_input import benchmark_tasks, study_report
from src.stages.study.report_only import published_of, report_again
from src.stages.study.subsets import SUBSETS, subset_losses, subsets_sentence
from src.stages.study.table import result_of, study_cells, study_jobs
from src.stages.study.wandb_report import with_wandb_report
from src.stages.trackers import tracked


@with_wandb_report
@tracked
def study(job: Job) -> Path:
    """Run the missing jobs of a study, choose coefficients on validation data, test once, decide and report.

    Returns:
        The run directory, with `report.html` and `report.md`.
    """
    check_preflight(job.cfg)
    job = with_cell_settings(job, build(job.cfg.study))
    cfg, jobs = job.cfg, study_jobs(job)
    plan = jobs.plan
    if plan.all_cells:
        return study_cells(job, plan, study_each)
    directory = study_directory(job, plan)
    published = published_of(job, plan)
    findings: list[Finding] = []
    if cfg.report_only:
        return report_again(job, plan, directory, lambda run: _report_finished(jobs, run, cfg, published))
    if cfg.dry_run or open_finished(directory) is None:
        check_study(jobs, inputs=not cfg.dry_run)
        findings = check_plan(jobs, cfg.preflight) if plan.splits else []
    if cfg.dry_run:
        print("\n".join([*command_lines(jobs), *summary_lines([jobs])]))
        return directory
    items = {f"{split} items": _item_hashes(jobs, split) for split in plan.splits}
    items |= {} if plan.choice == "generate" and not plan.subsets else {"validation rows": _row_hashes(jobs)}
    with open_run(directory, stage="study", config=job.identity(), inputs=items, argv=job.command) as run:
        if not run.finished:
            with contextlib.closing(build(cfg.executor)) as executor:
                runs = StudyRuns(jobs, executor, StudyProgress())
                runs.prepare()
                if plan.mixture:
                    run.results |= verdict_record(_carry_out(runs, run, findings, cfg.preflight, published))
                    write_cards(plan.title, run.results)
                elif plan.subsets:
                    losses = subset_losses(runs, run.scratch)
                    losses.to_csv(run.work / SUBSETS, index=False)
                    run.results |= {"losses": subsets_sentence(losses)}
                else:
                    run.results |= {"scores": _score_specialists(runs, run.work)}
    found = [Finding(**row) for row in run.results.get("findings", [])]
    tell(one for one in found if one.kind not in {finding.kind for finding in findings})  # the plan's are said above
    lines = [f"report: {directory / _main_file(plan)}"]
    print_study(result_of(run.results), run.results.get("headline", {}), lines)
    return directory


def study_each(jobs: Sequence[Job]) -> list[Path]:
    """Run studies one after the other."""
    return [study(job) for job in jobs]


def _item_hashes(jobs: StudyJobs, split: str) -> dict[str, str]:
    """Hash the problems and rows that decide the study's scores: a report about others is another study."""
    nodes = benchmark_nodes(jobs.evaluation(jobs.trained[0], "DIR", split))
    return item_hashes(split, {name: build(node) for name, node in nodes.items()})


def _row_hashes(jobs: StudyJobs) -> dict[str, str]:
    """Hash the rows whose losses choose coefficients."""
    return item_hashes("validation", {name: build(node) for name, node in benchmark_nodes(jobs.losses).items()})


def _main_file(plan: StudyPlan) -> str:
    return "report.html" if plan.mixture else SUBSETS if plan.subsets else "scores.csv"


def _score_specialists(runs: StudyRuns, place: Path) -> list[dict[str, object]]:
    """Train and score base and specialists, for a table without mixture and merges."""
    trained = runs.train_all()
    tasks = benchmark_tasks(trained[0].model.job.cfg)
    scores = pd.concat([item.scores(tasks) for item in runs.evaluate_all(trained, "test")], ignore_index=True)
    scores.to_csv(place / "scores.csv", index=False)
    return [{str(key): value for key, value in row.items()} for row in scores.to_dict("records")]


def _report_finished(jobs: StudyJobs, run: Run, cfg: DictConfig, published: tuple[Published, str] | None) -> None:
    """The report of a study whose runs are all finished; they are read, not repeated."""
    with contextlib.closing(build(cfg.executor)) as executor:
        runs = StudyRuns(jobs, executor, StudyProgress())
        report = _carry_out(runs, run, check_plan(jobs, cfg.preflight), cfg.preflight, published)
    if cfg.papers:
        write_for_papers(report, run.work)
    run.results |= verdict_record(report)


def _carry_out(
    runs: StudyRuns, run: Run, planned: Sequence[Finding], mode: str, published: tuple[Published, str] | None
) -> StudyReport:
    jobs, plan = runs.jobs, runs.jobs.plan
    trained = runs.train_all()
    tasks = benchmark_tasks(trained[0].model.job.cfg)
    choice = choose(runs, trained, tasks, run.scratch)
    choice.table.to_csv(run.work / "choice.csv", index=False)
    points = choice.points
    first, *others = jobs.seeds
    written = runs.merge_points([jobs.again(point, first, save_weights=True) for point in points.values()])
    chosen = dict(zip(points, written, strict=True))
    redrawn = runs.merge_points([*_other_draws(jobs, points, first), *_of_other_seeds(jobs, points, others)])
    mixed = choose_point(choice.validation, list(dict.fromkeys(m.model.name for m in trained if m.model.kind == "mix")))
    tested = [made for made in trained if made.model.kind != "mix" or made.model.name == mixed]
    on_test = runs.evaluate_all([*tested, *chosen.values(), *redrawn], "test")
    findings = check_runs(jobs, [*choice.scored, *on_test], mode, planned)
    test = relative_scores(on_test, tasks, plan)
    merges = {method: made.model.name for method, made in chosen.items()}
    best = choose_point(choice.validation, list(merges.values()))
    champion = next(method for method, name in merges.items() if name == best)
    verdict = decide(test, mixed, merges, champion, plan.margin)
    mixture = next(made for made in trained if made.model.name == mixed)
    diagnosis = runs.diagnose([mixture, *chosen.values()])
    scores = {"validation": choice.validation, "test": test}
    report = study_report(jobs, trained, choice, chosen, on_test, scores, verdict, diagnosis)
    problems = write_problem_page(on_test, mixture.model.name, best, run.work, findings)
    report = replace(
        report, findings=tuple(findings), problems=problems, problems_page=PAGE,
        answers=all_answers(on_test), published=published,
    )  # fmt: skip
    run.results |= {"headline": headline_words(report)}
    write_report(report, run.work)
    used = [*(item.directory for item in (*choice.scored, *on_test)), diagnosis]
    run.results |= {"choice": choice.results, "used": [str(place.absolute()) for place in dict.fromkeys(used)]}
    run.results |= {"atlas": atlas_row(jobs, verdict, diagnosis)} if plan.predict else {}
    return report


def _other_draws(jobs: StudyJobs, points: Mapping[str, PlannedModel], seed: int) -> list[PlannedModel]:
    """Plan the chosen points of methods with random masks again with the other mask seeds."""
    random = [points[method] for method in jobs.plan.random_methods]
    return [jobs.again(point, seed, mask_seed) for point in random for mask_seed in jobs.plan.mask_seeds[1:]]


def _of_other_seeds(jobs: StudyJobs, points: Mapping[str, PlannedModel], seeds: Sequence[int]) -> list[PlannedModel]:
    """Plan the chosen points for the specialists of the other training seeds, with all their mask seeds."""
    return [
        point
        for seed in seeds
        for point in (*(jobs.again(p, seed) for p in points.values()), *_other_draws(jobs, points, seed))
    ]
