"""Cheap choice against full generation: `python benchmarks/choice.py STUDY_DIRECTORY`.

STUDY_DIRECTORY is a finished run of study.py in which every merge point was generated on validation data. All points
are scored by validation loss and, for this comparison alone, generated on test data. Printed per rule: rank correlation
of its prediction with the generated averages, the chosen point, its regret on test data against the choice by full
generation, that difference's standard error (paired bootstrap over problems), and what it cost.
"""

from __future__ import annotations

import json
import random
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
from machine import machine
from scipy.stats import spearmanr

from src.evaluation.statistics.averages import RelativeScores
from src.evaluation.statistics.finalists import finalists
from src.evaluation.statistics.loss_map import PredictedScores
from src.evaluation.statistics.scores import read_scores
from src.stages.build import build
from src.stages.evaluate.point_losses import PointLosses
from src.stages.evaluate.run import evaluate
from src.stages.job import Job, compose_job, searchpath_of
from src.stages.merge.lazy_points import lazy_points
from src.stages.merge.run import merge_all
from src.stages.study.jobs import StudyJobs
from src.stages.study.plan import PlannedModel
from src.stages.study.report_input import benchmark_tasks
from src.utils.errors import UserError
from src.utils.progress import track

ROWS = (32, 64, 128)
BUDGETS = (5, 10, 15)
RANDOM = 1000
Row = tuple[str, dict[str, float], str, int, float]  # rule, prediction, choice, generated points, seconds of losses


class Points:
    """Everything measured of a study's points, with its cost.

    Args:
        directory: Of the study.
    """

    def __init__(self, directory: Path) -> None:
        record = json.loads((directory / "run.json").read_text())
        job = compose_job("study", [word for quoted in record["argv"][2:] for word in shlex.split(quoted)])
        self.plan = build(job.cfg.study)
        self.jobs = StudyJobs(self.plan, job.cfg.seed, job.cfg.output_root, searchpath_of(job.overrides))
        self.seconds = list[float]()
        self.benchmarks = benchmark_tasks(self.jobs.trained[0].job.cfg)
        self.validation = self._generated("validation", [*self.jobs.trained, *self.jobs.grid])
        self.test = self._generated("test", [*self.jobs.trained, *self.jobs.grid])
        self.methods = {model.name: str(model.method) for model in self.jobs.grid}

    def losses(self, rows: int) -> dict[str, dict[str, float]]:
        """Losses of all models on some rows per task."""
        common = [word for word in self.jobs.base.job.overrides if word.startswith(("model", "output_root"))]
        measure = PointLosses.of(compose_job("evaluate", ["benchmark=nll", f"benchmark.limit={rows}", *common]))
        with tempfile.TemporaryDirectory() as scratch:
            points = lazy_points([model.job for model in self.jobs.grid], Path(scratch))
            trained = {model.name: Path(self.jobs.checkpoint(model)) for model in self.jobs.trained}
            names = [model.name for model in self.jobs.grid]
            subjects = trained | {n: p for n, p in zip(names, points, strict=True) if not isinstance(p, UserError)}
            found = measure.measure(subjects)
        return {
            name: {task: one.mean for task, one in losses.items()}
            for name, losses in found.items()
            if not isinstance(losses, UserError)
        }

    def _generated(self, split: str, models: Sequence[PlannedModel]) -> RelativeScores:
        merge_all([model.job for model in models if model.kind == "merge"])
        runs, specialists = {}, {}
        for model in track(models, f"{split}: generating what is missing"):
            directory = evaluate(self._evaluation(model, split))
            self.seconds.append(json.loads((directory / "run.json").read_text())["cost"]["seconds"])
            runs[model.name] = [[read_scores(directory / "items.csv")]]
            if model.kind == "specialist":
                specialists[str(model.task)] = model.name
        return RelativeScores(runs, specialists, self.benchmarks, self.plan.metrics)

    def _evaluation(self, model: PlannedModel, split: str) -> Job:
        return self.jobs.evaluation(model, self.jobs.checkpoint(model), split)


def main(place: str) -> None:
    """Print the table of one study."""
    points = Points(Path(place))
    names, known = list(points.methods), [model.name for model in points.jobs.trained]
    validation = {name: points.validation.averages[name].mean for name in names}
    test = {name: points.test.averages[name].mean for name in names}
    full = max(names, key=lambda name: validation[name])
    rows: list[Row] = [("generate", validation, full, len(names), 0.0)]
    for limit in ROWS:
        started = time.monotonic()
        losses = points.losses(limit)
        spent = time.monotonic() - started
        own = {name: losses[name] for name in names}
        means = {name: -fmean(found.values()) for name, found in own.items()}
        predicted = PredictedScores.from_known(points.validation, {n: losses[n] for n in known}, points.benchmarks)
        mapped = {name: predicted.average(found) for name, found in own.items()}
        ranked = predicted.ranked(own)
        rows.append((f"mean loss, {limit} rows", means, max(names, key=lambda name: means[name]), 0, spent))
        rows.append((f"nll (map), {limit} rows", mapped, ranked[0], 0, spent))
        for budget in BUDGETS:
            chosen = finalists(ranked, points.methods, budget)
            best = max(chosen, key=lambda name: validation[name])
            rows.append((f"race of {len(chosen)}, {limit} rows", mapped, best, len(chosen), spent))
    print(machine())
    print(f"{place}: {len(names)} points; mixture {100 * points.test.averages['mixture'].mean:+.2f} on test data")
    _print_rules(rows, points, full)
    _print_random(names, validation, test, full)


def _print_rules(rows: Sequence[Row], points: Points, full: str) -> None:
    names = list(points.methods)
    splits = [{name: one.averages[name].mean for name in names} for one in (points.validation, points.test)]
    drawn = dict(zip(points.test.subjects, points.test.drawn_averages(2000, 0).T, strict=True))
    heads = ("rule", "rho val", "rho test", "chosen", "test", "regret", "+-", "gen.", "s")
    print("{:24} {:>8} {:>8} {:>24} {:>7} {:>7} {:>5} {:>5} {:>6}".format(*heads))
    for rule, scores, chosen, generated, seconds in rows:
        rho = [spearmanr([scores[name] for name in names], [one[name] for name in names])[0] for one in splits]
        regret = 100 * (splits[1][full] - splits[1][chosen])
        error = 100 * float(np.std(drawn[full] - drawn[chosen]))
        spent = generated * fmean(points.seconds) + seconds
        print(
            f"{rule:24} {rho[0]:8.3f} {rho[1]:8.3f} {chosen:>24} {100 * splits[1][chosen]:+7.2f} {regret:+7.2f} "
            f"{error:5.2f} {generated:5d} {spent:6.1f}"
        )


def _print_random(names: list[str], validation: dict[str, float], test: dict[str, float], full: str) -> None:
    """Regret of generating for as many points drawn at random: what a race must beat."""
    generator = random.Random(0)
    for count in BUDGETS:
        regrets = []
        for _ in range(RANDOM):
            best = max(generator.sample(names, count), key=lambda name: validation[name])
            regrets.append(100 * (test[full] - test[best]))
        worst = np.percentile(regrets, 95)
        print(f"{count} random points: mean regret {fmean(regrets):+.2f}, 95th percentile {worst:+.2f}")


if __name__ == "__main__":
    main(sys.argv[1])
