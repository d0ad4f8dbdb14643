"""Losses of the merges of every subset of a study's specialists, and the scaling law that they follow."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean

import pandas as pd

from src.checkpoints.reader import Checkpoint
from src.merging.registry import recipe_from
from src.predictor.scaling_law import as_json, fit_laws
from src.stages.evaluate.coefficient_losses import mean_loss
from src.stages.evaluate.point_losses import Losses, PointLosses, Subject
from src.stages.merge.jobs import Parents
from src.stages.merge.lazy_points import recipe_points
from src.stages.study.execute import StudyRuns, TrainedModel
from src.stages.study.jobs import StudyJobs
from src.utils.errors import UserError
from src.utils.files import write_json

SUBSETS, LOSSES, LAW = "subsets.csv", "losses.csv", "law.json"
Key = tuple[int, str, tuple[str, ...]]  # training seed, method, tasks


def subset_losses(runs: StudyRuns, scratch: Path) -> pd.DataFrame:
    """Train the specialists, merge every subset with equal coefficients, and measure validation losses.

    Args:
        runs: The study.
        scratch: Directory that survives an interruption.

    Returns:
        One row per training seed, method and subset: `parameters`, `seed`, `method`, `k`, `subset`, `loss` (mean over
        all tasks), `own_loss` (over those of the subset), and `nll_TASK` of every task. A subset of one is the
        specialist itself, whatever the method; k = 0 is the base.

    Raises:
        UserError: A subset cannot be merged, or losses cannot be measured.
    """
    jobs, trained = runs.jobs, runs.train_all()
    [base] = [made for made in trained if made.model.kind == "base"]
    measure = PointLosses.of(jobs.losses, scratch / "losses.jsonl")
    subjects: dict[Key, Subject] = {}
    for seed in jobs.seeds:
        subjects |= {(seed, "base", ()): base.checkpoint} | _subjects(jobs, trained, base.checkpoint, seed, scratch)
    found = measure.measure(
        {"\n".join([str(seed), method, *tasks]): one for (seed, method, tasks), one in subjects.items()}
    )
    parameters = sum(info.numel for info in Checkpoint(base.checkpoint).table.values())
    return pd.DataFrame(
        [_row(parameters, key, losses, measure.tasks) for key, losses in zip(subjects, found.values(), strict=True)]
    )


def subsets_sentence(losses: pd.DataFrame) -> str:
    """The mean loss by number of merged specialists, for each method."""
    base = losses.loc[losses["k"] == 0, "loss"].mean()
    merged = losses[losses["k"] > 0].groupby(["method", "k"], sort=False)["loss"].mean()
    said = [
        f"{method}: {', '.join(f'{value:.3f}' for value in merged[method])}"
        for method in dict.fromkeys(merged.index.get_level_values("method"))
    ]
    return f"Loss in nats of merges of 1, 2, ... specialists (base {base:.3f}): {'; '.join(said)}."


def write_law(directories: Sequence[Path], place: Path) -> list[str]:
    """Fit the scaling law to the losses of several studies; write them, and the law of every method.

    Args:
        directories: Run directories of studies with `subsets.csv`.
        place: Directory for `losses.csv` and `law.json`.

    Returns:
        The laws in words.
    """
    losses = pd.concat([pd.read_csv(directory / SUBSETS) for directory in directories], ignore_index=True)
    losses.to_csv(place / LOSSES, index=False)
    laws = fit_laws(losses)
    write_json(place / LAW, as_json(laws))
    return [line for name, law in laws.items() for line in law.lines(name)]


def _subjects(
    jobs: StudyJobs, trained: Sequence[TrainedModel], base: Path, seed: int, scratch: Path
) -> dict[Key, Subject]:
    places = {
        made.model.task: made.checkpoint
        for made in trained
        if made.model.kind == "specialist" and made.model.seed == seed and made.model.task is not None
    }
    settings = {method: jobs.merge_settings(method) for method in jobs.plan.subsets}
    found: dict[Key, Subject] = {}
    for count in range(1, len(places) + 1):
        for tasks in combinations(places, count):
            if count == 1:
                found |= {(seed, method, tasks): places[tasks[0]] for method in settings}
                continue
            parents = Parents(base, tuple((task, places[task]) for task in tasks), False, "cpu")
            weights = dict.fromkeys(tasks, 1 / count)
            recipes = [recipe_from({**own, "weights": weights}) for own in settings.values()]
            points = recipe_points(parents, recipes, scratch / "files" / f"{seed}-{'-'.join(tasks)}")
            found |= {(seed, method, tasks): point for method, point in zip(settings, points, strict=True)}
    return found


def _row(parameters: int, key: Key, losses: Losses | UserError, tasks: Sequence[str]) -> dict[str, object]:
    if isinstance(losses, UserError):
        raise losses
    seed, method, merged = key
    own = [losses[task].mean for task in merged]
    return {
        "parameters": parameters,
        "seed": seed,
        "method": method,
        "k": len(merged),
        "subset": "+".join(merged),
        "loss": mean_loss(losses),
        "own_loss": fmean(own) if own else None,
        **{f"nll_{task}": losses[task].mean for task in tasks},
    }
