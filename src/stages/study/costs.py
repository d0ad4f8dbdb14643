"""What each side of a study took: training, answers generated to choose its model, time and disk."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from src.runs.finished import open_finished
from src.stages.study.execute import ScoredModel, TrainedModel


def costs(
    trained: Sequence[TrainedModel], grid: Sequence[TrainedModel], merge: TrainedModel, choice: Sequence[ScoredModel]
) -> pd.DataFrame:
    """Cost of both sides beyond the base, in all training seeds: one row each.

    Merging includes its specialists, the merges of its search and their evaluations; mixing the evaluations of the
    mixtures.

    Args:
        trained: Base, specialists and mixtures.
        grid: All merges that were scored to choose one.
        merge: The champion merge with its weights on disk.
        choice: Evaluations on validation data.
    """
    mixtures = [made for made in trained if made.model.kind == "mix"]
    specialists = [made for made in trained if made.model.kind == "specialist"]
    rows = [
        _cost("mixing", mixtures, [], [item for item in choice if item.trained.model.kind == "mix"]),
        _cost(
            "merging",
            [*specialists, merge],
            grid,
            [item for item in choice if item.trained.model.kind in ("merge", "specialist")],
        ),
    ]
    return pd.DataFrame(rows)


def answers_to(scored: Sequence[ScoredModel]) -> int:
    """Number of answers that were generated in some evaluations."""
    return sum(number for item in scored for counts in item.finish().values() for number in counts.values())


def _cost(
    strategy: str, kept: Sequence[TrainedModel], tried: Sequence[TrainedModel], choice: Sequence[ScoredModel]
) -> dict[str, object]:
    places = dict.fromkeys([made.checkpoint for made in kept])
    found = {place: run for place in places if (run := open_finished(place)) is not None}
    others = dict.fromkeys([made.checkpoint for made in tried] + [item.directory for item in choice])
    seconds = [run.cost["seconds"] for place in others if (run := open_finished(place)) is not None]
    training = [run.results.get("cost", {}) for run in found.values()]
    return {
        "strategy": strategy,
        "training_tokens": sum(cost.get("tokens", 0) for cost in training),
        "training_steps": sum(cost.get("steps", 0) for cost in training),
        "answers": answers_to(choice),
        "seconds": sum(run.cost["seconds"] for run in found.values()) + sum(seconds),
        "disk_bytes": sum(run.cost["bytes"] for run in found.values()),
    }
