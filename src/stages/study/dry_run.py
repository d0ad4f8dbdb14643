"""All command lines of a study and what they cost, printed instead of run: `study.py dry_run=true`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from src.stages.study.estimate import TrainingCost, training_cost
from src.stages.study.jobs import StudyJobs
from src.stages.study.plan import PlannedModel

GB = 1e9


def command_lines(jobs: StudyJobs) -> list[str]:
    """One line per run, in an order in which they can be run; lines that begin with # depend on chosen coefficients.

    Args:
        jobs: The study; none of its runs need exist yet.
    """
    return [*training_lines([jobs]), *(" ".join(model.job.command) for model in jobs.grid), *_scoring(jobs)]


def training_lines(studies: Iterable[StudyJobs]) -> list[str]:
    """The training runs of several studies, those that they share once."""
    lines = [
        f"# the base is {jobs.checkpoint(model)}" if jobs.is_published(model) else " ".join(model.job.command)
        for jobs in studies
        for model in jobs.trained
    ]
    return list(dict.fromkeys(lines))


def summary_lines(studies: Sequence[StudyJobs]) -> list[str]:
    """What the runs cost together, as comments.

    Args:
        studies: One, or the cells of one; runs that they share count once.
    """
    trained = {" ".join(model.job.command): (jobs, model) for jobs in studies for model in jobs.trained}
    costs = [
        training_cost(model.job, jobs.base.job) for jobs, model in trained.values() if not jobs.is_published(model)
    ]
    merges = sum(len(jobs.grid) + _subset_merges(jobs) for jobs in studies)
    evaluations = sum(_evaluations(jobs) for jobs in studies)
    size = sum(cost.bytes for cost in costs) + sum(_merged_bytes(jobs) for jobs in studies)
    device = "cores" if studies[0].base.job.cfg.model.path is None else "H100s"
    return [
        f"# {len(costs)} training runs: {_hours(costs, device)}",
        f"# {merges} merges without weights on disk, {evaluations} evaluations",
        f"# {size / GB:.2g} GB of checkpoints",
    ]


def _hours(costs: Sequence[TrainingCost], device: str) -> str:
    hours = sum(cost.seconds for cost in costs) / 3600
    unknown = sum(cost.tokens is None for cost in costs)
    rest = f", without {unknown} whose tokens depend on rows that are not counted" if unknown else ""
    return f"about {hours:.2g} hours of {device} in all{rest}"


def _subset_merges(jobs: StudyJobs) -> int:
    """Subsets of two or more specialists, by every method, after every training seed."""
    tasks = len(jobs.tasks)
    return len(jobs.plan.subsets) * (2**tasks - tasks - 1) * len(jobs.seeds)


def _evaluations(jobs: StudyJobs) -> int:
    """Trained models on every split, the grid on validation data, and the chosen point of each method on test data."""
    plan = jobs.plan
    chosen = len({model.method for model in jobs.grid}) + len(plan.random_methods) * (len(plan.mask_seeds) - 1)
    generated = len(jobs.grid) if plan.choice == "generate" else plan.generations if plan.choice == "race" else 0
    if plan.subsets:
        return 0
    tested = len(jobs.trained) - len(jobs.candidates) + len(jobs.seeds) * bool(jobs.candidates)
    on_validation = (len(jobs.trained) + generated) * plan.mixture
    return on_validation + tested + chosen * len(jobs.seeds) * plan.mixture


def _merged_bytes(jobs: StudyJobs) -> float:
    """The chosen points, which are written for the first training seed."""
    methods = len({model.method for model in jobs.grid})
    return methods * training_cost(jobs.trained[-1].job, jobs.base.job).bytes


def _scoring(jobs: StudyJobs) -> Iterator[str]:
    if jobs.plan.subsets:
        methods = ", ".join(jobs.plan.subsets)
        yield f"# losses of every subset merged by {methods}: {' '.join(jobs.losses.command)} checkpoint=DIR"
        return
    grid = jobs.grid
    generated = grid if jobs.plan.choice == "generate" else []
    tested = [model for model in jobs.trained if model not in jobs.candidates]
    for split, models in (("validation", [*jobs.trained, *generated] if grid else []), ("test", tested)):
        yield from _evaluation_lines(jobs, models, split)
    if jobs.candidates:
        line = " ".join(jobs.evaluation(jobs.candidates[0], "DIR", "test").command)
        yield f"# the best mixture on validation data, of every training seed: {line}"
    if grid and not generated:
        yield f"# losses of all these models, in one pass: {' '.join(jobs.losses.command)} checkpoint=DIR"
        line = " ".join(jobs.evaluation(grid[0], "DIR", "validation").command)
        yield f"# the merges that they choose (study.generations={jobs.plan.generations}): {line}"
    for method in dict.fromkeys(model.method for model in grid):
        first = next(model for model in grid if model.method == method)
        line = " ".join(jobs.evaluation(first, "DIR", "test").command)
        yield f"# the best {method} on validation data: its line above without save_weights=false; {line}"
    if grid:
        yield f"# the mixture and these points: {' '.join(jobs.diagnosis({'NAME': 'DIR'}).command)}"


def _evaluation_lines(jobs: StudyJobs, models: Sequence[PlannedModel], split: str) -> Iterator[str]:
    for model in models:
        yield " ".join(jobs.evaluation(model, jobs.checkpoint(model), split).command)
