"""The jobs of a study as steps that depend on each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from src.stages.diagnose import diagnose
from src.stages.evaluate.run import evaluate
from src.stages.job import Job
from src.stages.study.estimate import evaluation_seconds, merge_seconds, training_cost
from src.stages.study.jobs import StudyJobs
from src.stages.study.plan import PlannedModel
from src.stages.study.work import Step, merge_together
from src.stages.train.run import train

TOGETHER = 6  # evaluations of lazy merges per step: they share the model in memory and the tensors of their parents


def train_each(jobs: Sequence[Job]) -> list[Path]:
    """Train models one after the other."""
    return [train(job, show_plan=False) for job in jobs]


def evaluate_each(jobs: Sequence[Job]) -> list[Path]:
    """Evaluate checkpoints one after the other."""
    return [evaluate(job) for job in jobs]


def diagnose_each(jobs: Sequence[Job]) -> list[Path]:
    """Run diagnoses one after the other."""
    return [diagnose(job) for job in jobs]


def training_steps(jobs: StudyJobs) -> list[Step]:
    """One step per model of `jobs.trained`; all but the base need the base."""
    base = _training_step(jobs, jobs.base, ())
    return [base, *(_training_step(jobs, model, (base.key,)) for model in jobs.trained[1:])]


def merge_steps(jobs: StudyJobs, models: Sequence[PlannedModel], needs: Iterable[Step] = ()) -> list[Step]:
    """One step per training seed: all its points in one pass over their parents.

    Args:
        jobs: The study.
        models: Merge points, ordered by training seed.
        needs: Steps that make the parents, if they may not have been made.
    """
    keys = tuple(step.key for step in needs)
    return [
        Step(
            "merges",
            f"merging {len(points)} points{_of_seed(jobs, seed)}",
            merge_together,
            tuple(point.job for point in points),
            keys,
            merge_seconds(jobs.base.job, len(points)),
        )
        for seed, points in _by_seed(models)
    ]


def evaluation_steps(
    jobs: StudyJobs, models: Sequence[tuple[PlannedModel, str]], split: str, needs: Iterable[Step] = ()
) -> list[Step]:
    """Evaluations in the order given: one step per trained model, one per few merges of a training seed.

    Args:
        jobs: The study.
        models: Models with their checkpoints, merges ordered by training seed.
        split: `validation` or `test`.
        needs: Steps that make them, if they may not have been made.
    """
    keys = tuple(step.key for step in needs)
    return [
        Step(
            "evaluation",
            f"{split}: {group[0][0].step}" + (f" and {len(group) - 1} more" if len(group) > 1 else ""),
            evaluate_each,
            tuple(jobs.evaluation(model, checkpoint, split) for model, checkpoint in group),
            keys,
            evaluation_seconds(jobs.base.job) * len(group),
        )
        for group in _groups(models)
    ]


def diagnosis_step(jobs: StudyJobs, variants: dict[str, str]) -> Step:
    """The weight diagnosis of checkpoints that exist."""
    seconds = merge_seconds(jobs.base.job, len(variants))
    return Step("diagnosis", "comparing weights", diagnose_each, (jobs.diagnosis(variants),), (), seconds)


def static_steps(jobs: StudyJobs) -> list[Step]:
    """Everything that is known before coefficients are chosen: training, the grid, and evaluations but the chosen's."""
    trained = training_steps(jobs)
    steps = list(trained)
    pairs = list(zip(jobs.trained, trained, strict=True))
    for model, step in pairs:
        if not jobs.is_published(model):  # its directory is known once it has been found
            for split in jobs.plan.splits if model not in jobs.candidates else ("validation",):
                steps += evaluation_steps(jobs, [(model, jobs.checkpoint(model))], split, [step])
    for seed, points in _by_seed(jobs.grid if jobs.plan.choice == "generate" else []):
        parents = [step for model, step in pairs if model.kind == "base" or _is_parent(model, seed)]
        merges = merge_steps(jobs, points, parents)
        places = [(point, jobs.checkpoint(point)) for point in points]
        steps += [*merges, *evaluation_steps(jobs, places, "validation", merges)]
    return steps


def _training_step(jobs: StudyJobs, model: PlannedModel, needs: tuple[str, ...]) -> Step:
    cost = training_cost(model.job, jobs.base.job)
    return Step(model.kind, f"training the {model.step}", train_each, (model.job,), needs, cost.seconds)


def _is_parent(model: PlannedModel, seed: int) -> bool:
    return model.kind == "specialist" and model.seed == seed


def _of_seed(jobs: StudyJobs, seed: int) -> str:
    return f" of seed {seed}" if len(jobs.seeds) > 1 else ""


def _by_seed(models: Iterable[PlannedModel]) -> list[tuple[int, list[PlannedModel]]]:
    return [(seed, list(points)) for seed, points in groupby(models, key=lambda model: model.seed)]


def _groups(models: Sequence[tuple[PlannedModel, str]]) -> Iterator[list[tuple[PlannedModel, str]]]:
    for (is_merge, _), members in groupby(models, key=lambda pair: (pair[0].kind == "merge", pair[0].seed)):
        found = list(members)
        size = TOGETHER if is_merge else 1
        yield from (found[start : start + size] for start in range(0, len(found), size))
