"""What each side of a study took: training, answers and losses to choose its model, device time and disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from src.runs.finished import open_finished
from src.stages.evaluate.point_losses import Spent
from src.stages.study.execute import ScoredModel, TrainedModel


def costs(
    trained: Sequence[TrainedModel],
    grid: Sequence[TrainedModel],
    merge: TrainedModel,
    choice: Sequence[ScoredModel],
    losses: Mapping[str, Spent],
) -> pd.DataFrame:
    """Cost of both sides beyond the base, in all training seeds: one row each.

    Merging includes its specialists, the merges of its search and their evaluations; mixing the evaluations of the
    mixtures.

    Args:
        trained: Base, specialists and mixtures.
        grid: All merges that were scored to choose one.
        merge: The champion merge with its weights on disk.
        choice: Evaluations on validation data.
        losses: Kind of model -> cost of its losses on validation data.
    """
    mixtures = [made for made in trained if made.model.kind == "mix"]
    specialists = [made for made in trained if made.model.kind == "specialist"]
    rows = [
        _cost("mixing", ("mix",), mixtures, [], choice, losses),
        _cost("merging", ("specialist", "merge"), [*specialists, merge], grid, choice, losses),
    ]
    return pd.DataFrame(rows)


def answers_to(scored: Sequence[ScoredModel]) -> int:
    """Number of answers that were generated in some evaluations."""
    return sum(number for item in scored for counts in item.finish().values() for number in counts.values())


def _cost(
    strategy: str,
    kinds: tuple[str, ...],
    kept: Sequence[TrainedModel],
    tried: Sequence[TrainedModel],
    choice: Sequence[ScoredModel],
    losses: Mapping[str, Spent],
) -> dict[str, object]:
    choice = [item for item in choice if item.trained.model.kind in kinds]
    spent = [losses[kind] for kind in kinds if kind in losses]
    places = dict.fromkeys([made.checkpoint for made in kept])
    found = {place: run for place in places if (run := open_finished(place)) is not None}
    others = dict.fromkeys([made.checkpoint for made in tried] + [item.directory for item in choice])
    runs = [*found.values(), *(run for place in others if (run := open_finished(place)) is not None)]
    training = [run.results.get("cost", {}) for run in found.values()]
    return {
        "strategy": strategy,
        "training_tokens": sum(cost.get("tokens", 0) for cost in training),
        "training_steps": sum(cost.get("steps", 0) for cost in training),
        "answers": answers_to(choice),
        "loss_passes": sum(one.passes for one in spent),
        "device_seconds": sum(run.cost["device_seconds"] for run in runs) + sum(one.seconds for one in spent),
        "disk_bytes": sum(run.cost["bytes"] for run in found.values()),
    }
