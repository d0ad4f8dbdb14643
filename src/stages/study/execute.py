"""Run the jobs of a study and read their results back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from src.evaluation.statistics.averages import RelativeScores
from src.evaluation.statistics.scores import Score, read_scores
from src.runs.finished import open_finished
from src.stages.evaluate.run import evaluate
from src.stages.job import Job
from src.stages.merge.run import merge_all
from src.stages.study.jobs import StudyJobs
from src.stages.study.plan import PlannedModel, StudyPlan
from src.stages.study.progress import StudyProgress
from src.stages.train.run import train
from src.utils.errors import UserError


@dataclass(frozen=True)
class TrainedModel:
    """A model of the study with its checkpoint."""

    model: PlannedModel
    checkpoint: Path


@dataclass(frozen=True)
class ScoredModel:
    """A trained model with its evaluation on one split."""

    trained: TrainedModel
    split: str
    job: Job
    directory: Path

    def items(self) -> list[Score]:
        """The score of every item in every metric."""
        return read_scores(self.directory / "items.csv")

    def finish(self) -> dict[str, dict[str, int]]:
        """benchmark -> how many answers ended in which way."""
        run = open_finished(self.directory)
        assert run is not None
        return dict(run.results.get("finish", {}))

    def scores(self, benchmark_tasks: dict[str, str]) -> pd.DataFrame:
        """The score table with columns that identify the model."""
        model = self.trained.model
        table = pd.read_csv(self.directory / "scores.csv")
        return table.assign(
            subject=model.name,
            kind=model.kind,
            task=table["benchmark"].map(benchmark_tasks),
            method=model.method,
            weight=model.weight,
            split=self.split,
            seed=table["seed"] if model.mask_seed is None else model.mask_seed,
        )


class StudyRuns:
    """The runs of one study; a finished run is reused instead of repeated.

    Args:
        jobs: Jobs of the study.
        progress: Progress bar to which every step reports.
    """

    def __init__(self, jobs: StudyJobs, progress: StudyProgress) -> None:
        self.jobs, self.progress = jobs, progress

    def train_all(self) -> list[TrainedModel]:
        """Train base, specialists and mixture."""
        made = []
        for model in self.jobs.trained:
            with self.progress.step(model.kind, f"training the {model.name}"):
                made.append(TrainedModel(model, train(model.job)))
        return made

    def merge_points(self, models: Sequence[PlannedModel]) -> list[TrainedModel]:
        """Merge all points in one pass over their parents.

        Raises:
            UserError: A point could not be merged; the first error is raised.
        """
        with self.progress.step("merges", f"merging {len(models)} points"):
            results = merge_all([model.job for model in models])
        made = []
        for model, result in zip(models, results, strict=True):
            if isinstance(result, UserError):
                raise result
            made.append(TrainedModel(model, result))
        return made

    def evaluate_all(self, made: Iterable[TrainedModel], split: str) -> list[ScoredModel]:
        """Generate and score on `split`."""
        evaluated = []
        for item in made:
            job = self.jobs.evaluation(item.model, str(item.checkpoint), split)
            with self.progress.step("evaluation", f"{split}: {item.model.step}"):
                evaluated.append(ScoredModel(item, split, job, evaluate(job)))
        return evaluated


def relative_scores(scored: Iterable[ScoredModel], tasks: Mapping[str, str], plan: StudyPlan) -> RelativeScores:
    """The scores of a split relative to the specialists, with the mask seeds of a merge pooled.

    Args:
        scored: Models on one split, the specialists among them; a merge once per mask seed.
        tasks: benchmark -> task that it measures.
        plan: The study; its metrics make up the average, its headline metrics are kept for the figures.
    """
    runs: dict[str, list[list[Score]]] = {}
    specialists = {}
    for item in scored:
        model = item.trained.model
        runs.setdefault(model.name, []).append(item.items())
        if model.kind == "specialist" and model.task is not None:
            specialists[model.task] = model.name
    return RelativeScores(
        {name: [found] for name, found in runs.items()}, specialists, tasks, plan.metrics, plan.headline.values()
    )


def cost_of(made: Sequence[TrainedModel]) -> pd.DataFrame:
    """Cost of each strategy beyond the base: training tokens, seconds and disk."""
    rows = []
    groups = {
        "mixture": [item for item in made if item.model.kind == "mix"],
        "specialists": [item for item in made if item.model.kind == "specialist"],
        "one merge of them": [item for item in made if item.model.kind == "merge"][:1],
    }
    for strategy, members in groups.items():
        runs = [run for item in members if (run := open_finished(item.checkpoint)) is not None]
        costs = [run.results.get("cost", {}) for run in runs]
        rows.append(
            {
                "strategy": strategy,
                "training_tokens": sum(cost.get("tokens", 0) for cost in costs),
                "seconds": sum(run.cost["seconds"] for run in runs),
                "disk_bytes": sum(run.cost["bytes"] for run in runs),
            }
        )
    return pd.DataFrame(rows)
