"""Contents of a study's report as plain values: its models, their scores, the verdict and tidy tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from src.evaluation.preflight.finding import Finding
from src.evaluation.statistics.averages import RelativeScores
from src.evaluation.statistics.verdict import StudyVerdict
from src.reporting.format import MISSING, coefficient
from src.reporting.names import method_label

if TYPE_CHECKING:
    from src.reporting.published.tables import Published  # which is read without a study

KINDS = ("base", "specialist", "mix", "merge")
COLUMNS = {
    "layers": ("variant", "layer", "kind", "l2_mean", "l2", "base_l2", "relative_l2"),
    "correlations": (
        *("first", "second", "layer", "kind"),
        *("pearson", "pearson_thresholded", "cosine", "sign_conflict"),
    ),
    "cost": ("strategy", "training_tokens", "training_steps", "answers", "loss_passes", "device_seconds", "disk_bytes"),
    "commands": ("subject", "command"),
}


@dataclass(frozen=True)
class StudyModel:
    """A model of a study.

    Attributes:
        name: Unique and readable, e.g. `ties 0.3`; the same for all mask seeds.
        kind: `base`, `specialist`, `mix` or `merge`.
        task: Task of a specialist, else None.
        method: Method of a merge, else None.
        weight: Coefficient of the first task in a merge with a grid whose coefficients sum to 1, or its proportion in
            one of several mixtures, else None.
        weights: Coefficients of all tasks in a merge whose coefficients need not sum to 1, else None.
    """

    name: str
    kind: str
    task: str | None = None
    method: str | None = None
    weight: float | None = None
    weights: tuple[float, ...] | None = None

    @property
    def label(self) -> str:
        """Name in tables and figures, e.g. `"Specialist: codegen"` or `"TIES 0.3"`."""
        if self.kind == "merge":
            at = coefficient(self.weight) if self.weights is None else "+".join(map(coefficient, self.weights))
            return method_label(str(self.method)) + ("" if at == MISSING else f" {at}")
        if self.kind == "specialist":
            return f"Specialist: {self.task}"
        if self.kind == "base":
            return "Base"
        return "Data mixture" if self.weight is None else f"Data mixture {coefficient(self.weight)}"

    @property
    def in_a_sentence(self) -> str:
        """Name in running text, e.g. `"the codegen specialist"` or `"TIES 0.3"`."""
        if self.kind == "specialist":
            return f"the {self.task} specialist"
        if self.kind == "mix":
            return "the data mixture" if self.weight is None else f"the data mixture {coefficient(self.weight)}"
        return "the base" if self.kind == "base" else self.label


Models = Mapping[str, StudyModel]  # name -> model, in the order of tables and legends


def models_in_order(models: Iterable[StudyModel]) -> dict[str, StudyModel]:
    """Base, specialists and mixture in the order given, then merges by method (order given) and coefficient."""
    found = list({model.name: model for model in models}.values())
    methods = list(dict.fromkeys(model.method for model in found))

    def order(model: StudyModel) -> tuple[int, int, float, tuple[float, ...]]:
        weight = 0.0 if model.weight is None else model.weight
        return KINDS.index(model.kind), methods.index(model.method), weight, model.weights or ()

    return {model.name: model for model in sorted(found, key=order)}


def variant_models(variants: Iterable[str], specialists: Mapping[str, str]) -> dict[str, StudyModel]:
    """Models of a diagnosis, without scores: specialists by task, all others under their own names.

    Args:
        variants: Names, possibly repeated.
        specialists: Task to the name of its variant.
    """
    tasks = {name: task for task, name in specialists.items()}
    found = {name: StudyModel(name, "merge", method=name) for name in variants}
    return found | {name: StudyModel(name, "specialist", task=tasks[name]) for name in found if name in tasks}


@dataclass(frozen=True)
class Side:
    """A side of the comparison and how its champion was chosen.

    Attributes:
        side: `mix` or `merge`, as the outcomes of a verdict.
        chosen: Name of the champion in running text.
        candidates: Models of this side that it was chosen among.
        answers: Answers generated to choose it.
        validation: Its average on validation data.
        test: Its average on test data.
        checkpoint: Directory of its checkpoint.
    """

    side: str
    chosen: str
    candidates: int
    answers: int
    validation: float
    test: float
    checkpoint: str


@dataclass(frozen=True)
class StudyReport:
    """The input of the HTML and Markdown reports.

    Args:
        title: For example `"Pocket study"`.
        verdict: Result of `decide`.
        tasks: Task names; `weight` of a merge is the first task's coefficient.
        models: Every model by name, in the order of tables and legends.
        scores: Split (`validation`, `test`) to the scores of the models on it. All numbers in the tables and figures
            come from here.
        chosen: Names of the merge points chosen on validation data, and of the mixture if there were several.
        headline: Task to the metric that represents it in the trade-off plot.
        layers: `src.diagnostics.weight_diagnosis.Diagnosis.layers`; `variant` holds names of models.
        correlations: `Diagnosis.correlations`; `first` and `second` hold names of models.
        chance: `Diagnosis.chance`: what unrelated updates would give; may be empty.
        survival: `Diagnosis.survival`: what merges keep of the specialists' updates; may be empty.
        cost: One row per strategy: what it takes from the base to its champion, the choice included; `answers` were
            generated and `loss_passes` models scored by loss to choose, `device_seconds` are seconds times devices,
            `disk_bytes` are of the checkpoints that it leaves.
        commands: The command that reproduces each model (`subject`), in the order to run them.
        environment: Versions, seeds and machine, shown unchanged.
        caveats: One sentence each.
        setup: How the study was run, in one paragraph; may be empty.
        findings: Confounds found before the comparison, shown above the verdict.
        problems: Sentences on the problems that mixture and best merge solve differently.
        problems_page: Page with these problems, relative to the report; empty: none.
        sides: Mixture and merge, as they were chosen.
        answers: Rows of `answers` on test data, `subject` being the model's name; of every model that a reader may
            compare with another.
        published: Published results to show beside ours, and the name of this study's model in them.
    """

    title: str
    verdict: StudyVerdict
    tasks: tuple[str, ...]
    models: Models
    scores: Mapping[str, RelativeScores]
    chosen: tuple[str, ...]
    headline: Mapping[str, str]
    layers: pd.DataFrame
    correlations: pd.DataFrame
    cost: pd.DataFrame
    commands: pd.DataFrame
    environment: Mapping[str, str] = field(default_factory=dict)
    caveats: tuple[str, ...] = ()
    setup: str = ""
    findings: tuple[Finding, ...] = ()
    problems: tuple[str, ...] = ()
    problems_page: str = ""
    sides: tuple[Side, ...] = ()
    answers: tuple[Mapping[str, Any], ...] = ()
    published: tuple[Published, str] | None = None
    chance: pd.DataFrame = field(default_factory=pd.DataFrame)
    survival: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def specialists(self) -> dict[str, str]:
        """Task to the name of its specialist."""
        return {m.task: m.name for m in self.models.values() if m.kind == "specialist" and m.task is not None}

    def __post_init__(self) -> None:
        """Refuse tables with missing columns, and unknown names.

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
        kinds = sorted({model.kind for model in self.models.values()} - set(KINDS))
        problems += [f"unknown kind {kind!r} of a model, expected one of {KINDS}" for kind in kinds]
        for split, relative in self.scores.items():
            problems += [f"unknown model {name!r} in {split}" for name in relative.subjects if name not in self.models]
        if "test" not in self.scores:
            problems.append("no scores on test data")
        if problems:
            raise ValueError("; ".join(problems))
