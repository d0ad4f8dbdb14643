"""`merge.py search=...`: choose the merge point with the best scores on validation data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from src.config.quoting import quote_path
from src.runs.paths import checkpoint_label
from src.runs.record import Run, add_results, open_run
from src.search.loop import Search, Trial, best, front
from src.search.settings import SearchSettings
from src.search.space import search_space, searched_methods
from src.stages.build import build
from src.stages.checkpoints import model_label, named_specialists
from src.stages.job import Job, compose_job, quoted_override
from src.stages.merge.jobs import Parents
from src.stages.merge.run import Result, merge, merge_all
from src.stages.search.objectives import Objectives
from src.stages.search.points import MergePoints, configured_method
from src.stages.search.scorer import PointScorer
from src.stages.search.scoring import SPLIT
from src.stages.trackers import logger_overrides, tracked
from src.utils.errors import UserError
from src.utils.files import sha256_json
from src.utils.jsonl import read_sealed
from src.utils.progress import progress_bar, say

BEST = "best"  # directory of the best point inside that of the search


@tracked
def search(job: Job) -> Path:
    """Score points on validation data, and merge the best one.

    Writes `trials.csv` (one row per point), with several objectives `front.csv` (the points that no other one beats in
    all of them), and the best point as a merge in `best/`.

    Returns:
        The run directory.

    Raises:
        UserError: The space or an objective is not one, or the parents do not match.
    """
    settings: SearchSettings = build(job.cfg.search)
    parents = Parents.of(job.cfg)
    files = {name: parent.files for name, parent in parents.identify().items()}
    methods = searched_methods(settings.space, configured_method(job))
    points = MergePoints(job, methods, {name: files[name] for name, _ in parents.specialists})
    space = search_space(settings.space, points.nodes, points.names)
    points.check(space)
    data = Objectives.of(job, settings)
    sampler = settings.sampler.build(space, settings.objectives, settings.budget, settings.seed)
    start = space.start(methods[0], points.nodes[methods[0]])
    plan = Search(space, sampler, data.objectives, settings.budget, start, settings.batch)
    scores, items = data.identity()
    config = {"search": OmegaConf.to_container(job.cfg.search, resolve=True), "methods": points.nodes, "scores": scores}
    directory = job.directory(_name(job, settings, methods))
    with open_run(
        directory, stage="search", config=config, inputs={**files, **points.files, **items}, argv=job.command
    ) as run:
        if not run.finished:
            trials = _run(plan, points, PointScorer(parents, points, data, run.scratch, sha256_json(files)), run)
            run.results |= _results(trials, plan, points)
    _merge_best(job, settings, run)
    return directory


def merge_or_search_all(jobs: Sequence[Job]) -> list[Result]:
    """The jobs of a sweep: searches one after another, then all merges in one pass over their parents."""
    results: dict[int, Result] = {}
    for index, job in enumerate(jobs):
        if job.cfg.search is not None:
            try:
                results[index] = search(job)
            except UserError as error:
                results[index] = error
    merges = [index for index in range(len(jobs)) if index not in results]
    results |= dict(zip(merges, merge_all([jobs[index] for index in merges]), strict=True))
    return [results[index] for index in range(len(jobs))]


def _run(plan: Search, points: MergePoints, score: PointScorer, run: Run) -> list[Trial]:
    journal, trials = run.scratch / "trials.jsonl", list[Trial]()
    known = len(read_sealed(journal))
    if known:
        say(f"{run.directory}: continuing after {known} of {plan.budget} points")
    with progress_bar() as bar:
        task = bar.add_task("search", total=plan.budget)
        for trial in plan.run(score, journal):
            trials.append(trial)
            leading = front(trials, plan.objectives)
            if trial in leading and trial.number >= known:
                words = " ".join(points.words(trial.point))
                say(f"  point {trial.number + 1} of {plan.budget}: {_scores(trial, plan)}  {words}")
            label = f"search, best so far {_scores(best(trials, plan.objectives), plan)}" if leading else "search"
            bar.update(task, advance=1, description=label)
            _write(trials, run.work / "trials.csv")
    if len(plan.objectives) > 1:
        _write(front(trials, plan.objectives), run.work / "front.csv", points)
    return trials


def _results(trials: Sequence[Trial], plan: Search, points: MergePoints) -> dict[str, Any]:
    chosen = best(trials, plan.objectives)
    return {
        "best": chosen.number,
        "overrides": points.overrides(chosen.point),
        "measured": dict(chosen.measured),
        "objectives": [objective.name for objective in plan.objectives],
        "front": [trial.number for trial in front(trials, plan.objectives)],
        "evaluations": sum(trial.seconds > 0 for trial in trials),
        "failed": sum(trial.state == "failed" for trial in trials),
        "seconds_per_point": round(sum(trial.seconds for trial in trials) / len(trials), 3),
    }


def _merge_best(job: Job, settings: SearchSettings, run: Run) -> None:
    """Merge the best point as its own command would, record how it was chosen, and print the result."""
    found, place = run.results, run.directory / BEST
    merging = compose_job(
        "merge", [*found["overrides"], *logger_overrides(job.overrides), quote_path(f"output={place}")]
    )
    merge(merging)
    chosen = {key: found[key] for key in ("best", "measured", "objectives", "evaluations")}
    add_results(place, chosen_by={"search": settings.sampler.name, "budget": settings.budget, "split": SPLIT, **chosen})
    scores = ", ".join(f"{name} {found['measured'][name]:.4g}" for name in found["objectives"])
    spent = f"{found['evaluations']} points ({found['failed']} failed), {found['seconds_per_point']:.2g} s per point"
    say(f"search={settings.sampler.name}: {spent}")
    say(f"best: {scores} on validation data: {_command(found['overrides'])}")
    say(
        f"written to {place}. Its score is optimistic, as the best of many on the same rows; score it on test data "
        f"once: python evaluate.py checkpoint={place}"
    )


def _name(job: Job, settings: SearchSettings, methods: Sequence[str]) -> str:
    """`pocket-ties-tpe-s0-search`; searched methods are in a word for the space."""
    cfg = job.cfg
    owner = model_label(cfg.model) if cfg.base is None else checkpoint_label(str(cfg.base))
    extras = [*named_specialists(cfg), *job.extras(("merge", "model", "seed", "search", "save_weights"))]
    method = methods if len(methods) == 1 else []
    return "-".join([owner, *method, settings.sampler.name, *extras, f"s{cfg.seed}", "search"])


def _write(trials: Sequence[Trial], path: Path, points: MergePoints | None = None) -> None:
    """One row per point; with `points`, also what to add to `python merge.py`."""
    several = len({trial.point.method for trial in trials}) > 1
    rows = [
        {
            "trial": trial.number,
            **({"merge": trial.point.method} if several else {}),
            **trial.point.values,
            **trial.measured,
            "state": trial.state,
            "seconds": trial.seconds,
            "reason": trial.reason,
            **({"command": _command(points.overrides(trial.point))} if points else {}),
        }
        for trial in trials
    ]
    last = [name for name in ("state", "seconds", "reason", "command") if name in rows[0]]
    table = pd.DataFrame(rows)
    table[[name for name in table if name not in last] + last].to_csv(path, index=False)


def _scores(trial: Trial, plan: Search) -> str:
    scores = zip(plan.objectives, trial.scores(plan.objectives), strict=True)
    return ", ".join(f"{objective.name} {value:.4g}" for objective, value in scores)


def _command(overrides: Sequence[str]) -> str:
    return f"python merge.py {' '.join(map(quoted_override, overrides))}"
