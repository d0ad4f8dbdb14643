"""Everything a study's report shows, as plain values and tidy tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

KINDS = ("base", "specialist", "mix", "merge")
COLUMNS = {
    "scores": (
        *("subject", "kind", "task", "method", "weight", "split", "benchmark"),
        *("metric", "value", "n", "low", "high", "seed"),
    ),
    "chosen": ("subject", "method", "weight"),
    "comparisons": ("method", "difference", "low", "high", "p", "verdict"),
    "layers": ("variant", "layer", "kind", "l2_mean", "l2", "base_l2", "relative_l2"),
    "correlations": (
        *("first", "second", "layer", "kind"),
        *("pearson", "pearson_thresholded", "cosine", "sign_conflict"),
    ),
    "cost": ("strategy", "training_tokens", "seconds", "disk_bytes"),
    "commands": ("subject", "command"),
}


@dataclass(frozen=True)
class StudyReport:
    """The input of the HTML and Markdown reports; scores and differences are fractions, 0-1.

    Args:
        title: For example `"Pocket study"`.
        verdict: One paragraph of plain text.
        tasks: Task names; `weight` in the tables is the first task's coefficient.
        specialists: Task to the `subject` that was fine-tuned on it.
        headline: Task to the metric that stands for it in the trade-off plot.
        scores: One row a subject, split (`"validation"` or `"test"`), benchmark, metric and seed. `subject` is the same
            for all seeds; `kind` is one of `KINDS`; `task` is the task that the benchmark measures; `method` and
            `weight` are set for merges only; `low` and `high` bound the 95 % interval over `n` problems.
        chosen: The merge points chosen on validation data: one row a method.
        comparisons: Mixture minus chosen merge on test data, one row a method; `verdict` is a short phrase.
        layers: `src.diagnostics.weights.Diagnosis.layers`; `variant` holds subjects.
        correlations: `Diagnosis.correlations`; `first` and `second` hold subjects.
        cost: One row a strategy; `disk_bytes` of the checkpoints that it leaves.
        commands: The command line that reproduces each subject, in the order to type them.
        environment: Versions, seeds, machine: shown as they are.
        caveats: One sentence each.
        setup: What was run, in one paragraph; may be empty.
        difference_label: Axis of the comparison plot.
    """

    title: str
    verdict: str
    tasks: tuple[str, ...]
    specialists: Mapping[str, str]
    headline: Mapping[str, str]
    scores: pd.DataFrame
    chosen: pd.DataFrame
    comparisons: pd.DataFrame
    layers: pd.DataFrame
    correlations: pd.DataFrame
    cost: pd.DataFrame
    commands: pd.DataFrame
    environment: Mapping[str, str] = field(default_factory=dict)
    caveats: tuple[str, ...] = ()
    setup: str = ""
    difference_label: str = "mixture minus merge, points of the average change"

    def __post_init__(self) -> None:
        """Refuse tables without their columns and names that no table knows.

        Raises:
            ValueError: With every problem found.
        """
        problems = [
            f"{table} lacks column {column!r}"
            for table, columns in COLUMNS.items()
            for column in columns
            if column not in getattr(self, table).columns
        ]
        problems += [f"no specialist for task {task!r}" for task in self.tasks if task not in self.specialists]
        problems += [f"no headline metric for task {task!r}" for task in self.tasks if task not in self.headline]
        if "kind" in self.scores.columns:
            unknown = sorted(set(self.scores["kind"]) - set(KINDS))
            problems += [f"unknown kind {kind!r} in scores, expected one of {KINDS}" for kind in unknown]
        if problems:
            raise ValueError("; ".join(problems))
