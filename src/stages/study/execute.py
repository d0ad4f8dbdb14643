"""Run the jobs of a study and read their results back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from src.evaluation.statistics.averages import RelativeScores
from src.evaluation.statistics.scores import Score, read_scores
from src.runs.finished import FinishedRun, open_finished
from src.stages.job import Job
from src.stages.study.executor import Executor
from src.stages.study.jobs import StudyJobs
from src.stages.study.plan import PlannedModel, StudyPlan
from src.stages.study.progress import StudyProgress
from src.stages.study.schedule import run_steps
from src.stages.study.steps import diagnosis_step, evaluation_steps, merge_steps, static_steps, training_steps
from src.stages.study.work import Step


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
        self._run()
        return read_scores(self.directory / "items.csv")

    def finish(self) -> dict[str, dict[str, int]]:
        """benchmark -> how many answers ended in which way."""
        return dict(self._run().results.get("finish", {}))

    def scores(self, benchmark_tasks: dict[str, str]) -> pd.DataFrame:
        """The score table with columns that identify the model."""
        model = self.trained.model
        self._run()
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

    def _run(self) -> FinishedRun:
        """The run, whose files are still those that it wrote."""
        run = open_finished(self.directory)
        assert run is not None
        return run


class StudyRuns:
    """The runs of one study; a finished run is reused instead of repeated.

    Args:
        jobs: Jobs of the study.
        executor: Where they run.
        progress: Progress bar to which every step reports.
    """

    def __init__(self, jobs: StudyJobs, executor: Executor, progress: StudyProgress) -> None:
        self.jobs, self.executor, self.progress = jobs, executor, progress
        self._places: dict[str, tuple[Path, ...]] = {}

    def prepare(self) -> None:
        """Make and score everything that depends on no choice.

        Raises:
            UserError: Steps failed; all others that can be run have been.
        """
        self._run(static_steps(self.jobs))

    def train_all(self) -> list[TrainedModel]:
        """Train the base, and per training seed the specialists and the mixture."""
        steps = training_steps(self.jobs)
        return [TrainedModel(*pair) for pair in zip(self.jobs.trained, self._run(steps), strict=True)]

    def merge_points(self, models: Sequence[PlannedModel]) -> list[TrainedModel]:
        """Merge points, ordered by training seed: those of a seed in one pass over their parents.

        Raises:
            UserError: A point could not be merged.
        """
        places = self._run(merge_steps(self.jobs, models))
        return [TrainedModel(model, place) for model, place in zip(models, places, strict=True)]

    def evaluate_all(self, made: Iterable[TrainedModel], split: str) -> list[ScoredModel]:
        """Generate and score on `split`."""
        items = list(made)
        steps = evaluation_steps(self.jobs, [(item.model, str(item.checkpoint)) for item in items], split)
        jobs = [job for step in steps for job in step.jobs]
        scored = zip(items, jobs, self._run(steps), strict=True)
        return [ScoredModel(item, split, job, place) for item, job, place in scored]

    def diagnose(self, variants: Sequence[TrainedModel]) -> Path:
        """Compare the weights of the first training seed's specialists and of these models."""
        named = {item.model.name: str(item.checkpoint) for item in variants}
        [place] = self._run([diagnosis_step(self.jobs, named)])
        return place

    def _run(self, steps: Iterable[Step]) -> list[Path]:
        """Run the steps that have not run in this process; the run directories of all their jobs, in order."""
        wanted = list(steps)
        left = [replace(step, needs=tuple(key for key in step.needs if key not in self._places)) for step in wanted]
        left = [step for step in left if step.key not in self._places]
        if left:
            results = run_steps(left, self.executor, self.progress)
            self._places |= results.places
            results.require()
        return [place for step in wanted for place in self._places[step.key]]


def relative_scores(scored: Iterable[ScoredModel], tasks: Mapping[str, str], plan: StudyPlan) -> RelativeScores:
    """The scores of a split relative to the specialists of the same training seed, mask seeds of a merge pooled.

    Args:
        scored: Models on one split, the specialists among them, once per training seed; a merge also once per mask
            seed. A base that all training seeds share is scored once.
        tasks: benchmark -> task that it measures.
        plan: The study; its metrics make up the average, its headline metrics are kept for the figures.
    """
    runs: dict[str, dict[int, list[list[Score]]]] = {}
    specialists, shared = {}, set()
    for item in scored:
        model = item.trained.model
        runs.setdefault(model.name, {}).setdefault(model.seed, []).append(item.items())
        if model.kind == "specialist" and model.task is not None:
            specialists[model.task] = model.name
        if model.kind == "base":
            shared.add(model.name)
    seeds = sorted({seed for name, found in runs.items() for seed in found if name not in shared})
    by_seed = {
        name: list(found.values()) * len(seeds) if name in shared else [found[seed] for seed in seeds if seed in found]
        for name, found in runs.items()
    }
    return RelativeScores(by_seed, specialists, tasks, plan.metrics, plan.headline.values())
