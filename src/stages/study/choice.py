"""The choice of merge coefficients on validation data: `study.choice=generate|nll|race`.

- `generate`: answers of every point.
- `nll`: validation losses of every point, mapped to scores through the base, the specialists and the mixture, which are
  generated anyway (see `src.evaluation.statistics.loss_map`); the best of each method is generated for the report.
- `race`: the same, and answers of the `study.generations` best points decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd

from src.evaluation.statistics.averages import RelativeScores
from src.evaluation.statistics.finalists import finalists
from src.evaluation.statistics.loss_map import PredictedScores
from src.evaluation.statistics.verdict import choose_point
from src.runs.finished import open_finished
from src.stages.evaluate.point_losses import Losses, PointLosses, Spent, Subject
from src.stages.merge.lazy_points import lazy_points
from src.stages.study.execute import ScoredModel, StudyRuns, TrainedModel, relative_scores
from src.stages.study.plan import PlannedModel
from src.utils.errors import UserError

TaskLosses = Mapping[str, float]  # task -> loss


@dataclass(frozen=True)
class ChoiceCost:
    """Cost of choosing among merge points, without the trained models, which are generated for any choice.

    Attributes:
        points: Points of the grid, those of every training seed counted.
        generated: Points whose answers were generated on validation data.
        generation_seconds: Time of that.
        loss_passes: Models and points whose validation losses were measured.
        loss_seconds: Time of that.
    """

    points: int
    generated: int
    generation_seconds: float
    loss_passes: int = 0
    loss_seconds: float = 0.0


@dataclass(frozen=True)
class Choice:
    """The chosen point of every method, and what is known of the others.

    Attributes:
        points: Method -> its point.
        generated: Points with answers on validation data.
        scored: Evaluations on validation data, of trained models and points.
        validation: Their scores.
        table: One row per point, and per mixture if there are several: losses by task, predicted and generated average,
            whether it was chosen.
        cost: What choosing has cost.
        losses: Kind of model -> what its losses have cost, part of `cost`.
    """

    points: dict[str, PlannedModel]
    generated: list[TrainedModel]
    scored: list[ScoredModel]
    validation: RelativeScores
    table: pd.DataFrame
    cost: ChoiceCost
    losses: Mapping[str, Spent]

    @property
    def results(self) -> dict[str, Any]:
        """Cost, for the record of the study."""
        return asdict(self.cost)


def choose(runs: StudyRuns, trained: Sequence[TrainedModel], tasks: Mapping[str, str], scratch: Path) -> Choice:
    """Choose the point of each method with the best average on validation data, over all training seeds.

    Args:
        runs: The study.
        trained: Base, specialists and mixture of every training seed.
        tasks: benchmark -> task that it measures.
        scratch: Directory that survives an interruption.

    Raises:
        UserError: A point could not be merged, or losses cannot be measured.
    """
    jobs, plan = runs.jobs, runs.jobs.plan
    known = runs.evaluate_all(trained, "validation")
    wanted, losses, predicted, spent = jobs.grid, dict[str, TaskLosses](), None, dict[str, Spent]()
    if plan.choice != "generate":
        measure = PointLosses.of(jobs.losses, scratch / "losses.jsonl")
        losses, spent = _losses(measure, trained, jobs.grid, scratch)
        names = dict.fromkeys(item.model.name for item in trained)
        predicted = PredictedScores.from_known(
            relative_scores(known, tasks, plan), {name: losses[name] for name in names}, tasks
        )
        methods = {model.name: str(model.method) for model in jobs.grid}
        ranked = predicted.ranked({name: losses[name] for name in methods})
        kept = finalists(ranked, methods, plan.generations if plan.choice == "race" else 0)
        wanted = [model for model in jobs.grid if model.name in kept]
    generated = runs.merge_points(wanted)
    answered = runs.evaluate_all(generated, "validation")
    validation = relative_scores([*known, *answered], tasks, plan)
    points = _best(generated, validation)
    passes, seconds = sum(one.passes for one in spent.values()), sum(one.seconds for one in spent.values())
    return Choice(
        points, generated, [*known, *answered], validation,
        _table([*jobs.candidates, *jobs.grid], losses, predicted, validation, points),
        ChoiceCost(len(jobs.grid), len(generated), _seconds(answered), passes, round(seconds, 3)), spent,
    )  # fmt: skip


def choice_sentence(choice: str, cost: ChoiceCost) -> str:
    """How coefficients were chosen, and at what cost."""
    points = f"{cost.points} merge points"
    if choice == "generate":
        return f"Coefficients were chosen among {points} by their answers on validation data."
    by = "losses alone" if choice == "nll" else f"answers of the best {cost.generated}"
    return (
        f"Coefficients were chosen among {points} by validation losses, mapped to scores through base, specialists and "
        f"mixture, and then by {by}: {cost.generated} points were generated instead of {cost.points}."
    )


def _losses(
    measure: PointLosses, trained: Sequence[TrainedModel], grid: Sequence[PlannedModel], scratch: Path
) -> tuple[dict[str, TaskLosses], dict[str, Spent]]:
    """Losses by name and task, as means over training seeds, and what they cost by kind of model."""
    subjects: dict[tuple[str, int], Subject] = {(item.model.name, item.model.seed): item.checkpoint for item in trained}
    kinds = {(model.name, model.seed): model.kind for model in (*(item.model for item in trained), *grid)}
    for model, point in zip(grid, lazy_points([model.job for model in grid], scratch / "files"), strict=True):
        if isinstance(point, UserError):
            raise point
        subjects[model.name, model.seed] = point
    found = measure.measure({f"{name}\n{seed}": subject for (name, seed), subject in subjects.items()})
    by_name: dict[str, list[Losses]] = {}
    for (name, _), losses in zip(subjects, found.values(), strict=True):
        if isinstance(losses, UserError):
            raise losses
        by_name.setdefault(name, []).append(losses)
    means: dict[str, TaskLosses] = {
        name: {task: fmean(one[task].mean for one in several) for task in measure.tasks}
        for name, several in by_name.items()
    }
    return means, {
        kind: measure.cost_of(subject for key, subject in subjects.items() if kinds[key] == kind)
        for kind in dict.fromkeys(kinds.values())
    }


def _best(generated: Sequence[TrainedModel], validation: RelativeScores) -> dict[str, PlannedModel]:
    """By method, in the order of the grid."""
    by_method: dict[str, dict[str, PlannedModel]] = {}
    for made in generated:
        by_method.setdefault(str(made.model.method), {}).setdefault(made.model.name, made.model)
    return {method: points[choose_point(validation, list(points))] for method, points in by_method.items()}


def _table(
    models: Sequence[PlannedModel],
    losses: Mapping[str, TaskLosses],
    predicted: PredictedScores | None,
    validation: RelativeScores,
    points: Mapping[str, PlannedModel],
) -> pd.DataFrame:
    chosen = {model.name for model in points.values()}
    mixtures = list(dict.fromkeys(model.name for model in models if model.kind == "mix"))
    chosen |= {choose_point(validation, mixtures)} if mixtures else set()
    rows = []
    for name, model in {model.name: model for model in models}.items():
        average = validation.averages.get(name)
        rows.append(
            {
                "point": name,
                "method": model.method or "mixture",
                **{f"nll_{task}": loss for task, loss in losses.get(name, {}).items()},
                "predicted": None if predicted is None else predicted.average(losses[name]),
                "generated": None if average is None else average.mean,
                "chosen": name in chosen,
            }
        )
    return pd.DataFrame(rows)


def _seconds(scored: Sequence[ScoredModel]) -> float:
    runs = [open_finished(item.directory) for item in scored]
    return round(sum(float(run.cost["seconds"]) for run in runs if run is not None), 3)
