"""The plan of a study, read from conf/study, and its models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from src.reporting.study_report import StudyModel
from src.stages.job import USUAL_TASKS, Job
from src.stages.study.cells import Cell, axes_problems, list_cells, overrides_for
from src.stages.study.grids import grid_points
from src.utils.errors import UserError
from src.utils.validation import checked_dataclass

# The sizes of a preset are reduced to these in a rehearsal: a few steps on a few rows.
SMALL_TRAINING = (
    *("strategy.steps=50", "strategy.batch_tokens=null", "strategy.batch_size=4", "strategy.micro_batch=2"),
    *("strategy.max_length=256", "data.limit=40", "checkpoint.validate_every=25"),
    "strategy.learning_rate=0.01",  # makes a fresh model answer with frequent words: scores of 0 cannot be compared
)
SMALL_BENCHMARK = {"limit": 8, "decoding.max_new_tokens": 32}


@dataclass(frozen=True, kw_only=True)
class PlannedModel(StudyModel):
    """A model of the study with the job that makes it.

    Attributes:
        job: Job that makes its checkpoint.
        seed: Training seed of the model, and of a merge's specialists.
        mask_seed: Seed of the random masks of a merge; None for other models.
    """

    job: Job
    seed: int = 0
    mask_seed: int | None = None

    @property
    def step(self) -> str:
        """The name, followed by the seeds other than 0."""
        seeds = (("seed", self.seed), ("mask seed", self.mask_seed))
        return ", ".join([self.name, *(f"{word} {seed}" for word, seed in seeds if seed)])


@checked_dataclass("study")
class StudyPlan:
    """The fields of a file of conf/study.

    Args:
        name: Name of the run directory.
        title: Title of the report.
        model: Choice of conf/model.
        tasks: Files of conf/tasks, in the order of the coefficients. Other keys name the task itself: `codegen` for the
            file `codegen_fair`.
        methods: Choices of conf/merge. Without methods and without a mixture, only the specialists are
            trained and scored.
        weights: Coefficients of the first task in the grid, each in 0-1.
        grids: Method of conf/merge -> further points with one coefficient per task (see `Grid`).
        methods_without_grid: Methods that choose their own coefficients: one point each, with the defaults of
            conf/merge.
        random_methods: Methods whose chosen point is merged again with every seed of `mask_seeds`.
        mask_seeds: Seeds of random masks; the grid uses the first.
        seeds: Training seeds of specialists and mixture, each with its own merges and evaluations; the base is shared.
            None: the `seed` of the study.
        choice: Evidence that chooses the point of each method on validation data (see `src.stages.study.choice`).
        generations: With `choice=race`, points whose answers are generated.
        loss_rows: Validation rows per task for the losses of `nll` and `race`; None: all.
        headline: Task -> the metric that represents it in figures.
        metrics: Metrics of the average that chooses points and names the winner; None: all.
        margin: Mixture and merge are equivalent if their averages differ by less; 0: they are never called so.
        base_overrides: Overrides of the command that pretrains the base.
        train_overrides: Overrides of every `train.py` command; `merge_overrides` and `evaluate_overrides` likewise.
        overrides: Overrides of every command, e.g. `model.path=DIR`.
        merged_evaluate_overrides: Overrides of the `evaluate.py` commands of merges.
        run_overrides: Run (a task, or `mix`) -> overrides of its `train.py` command.
        model_overrides: Model -> the same for this model. Empty: the settings of conf/model; otherwise every model
            needs an entry.
        fraction: Proportion of every task's training rows.
        mixture: Whether a mixture is trained.
        predict: Whether the diagnosis measures the features of docs/predictor.md too; a study with cells then writes
            `atlas.csv`.
        subsets: Without a mixture: methods of conf/merge that merge every subset of the specialists, with equal
            coefficients; their validation losses are all that is measured.
        ratios: `mix.ratio` of several mixtures, of which validation data choose one, as they do among merges; None: one
            mixture, with the settings of its run.
        cells: Axis -> values: one study per combination, as rows of one table (see `list_cells`).
        points: Number of Sobol points over `cells`; None: every combination.
        cell: Axis -> value: one of these studies, alone.
        axes: Axis -> target -> overrides with `{}` for the value (see `overrides_for`).
        caveats: Sentences of the report.
        debug: `shrink`: a shrunken model on pocket rows, without the settings of runs, which are meant for a whole
            model; `rehearse`: every command as it is, on a shrunken model and a few real rows; None: the whole study.
    """

    name: str
    title: str
    model: str
    tasks: Sequence[str]
    methods: Sequence[str]
    weights: Sequence[Annotated[float, Field(ge=0, le=1)]]
    methods_without_grid: Sequence[str]
    random_methods: Sequence[str]
    mask_seeds: Sequence[int]
    headline: Mapping[str, str]
    metrics: Sequence[str] | None
    base_overrides: Sequence[str]
    train_overrides: Sequence[str]
    merge_overrides: Sequence[str]
    evaluate_overrides: Sequence[str]
    overrides: Sequence[str] = ()
    merged_evaluate_overrides: Sequence[str] = ()
    run_overrides: Mapping[str, Sequence[str]] = field(default_factory=dict)
    model_overrides: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    seeds: Sequence[int] | None = None
    margin: Annotated[float, Field(ge=0, lt=1)] = 0.02
    grids: Mapping[str, Mapping[str, Any]] | None = None
    choice: Literal["generate", "nll", "race"] = "generate"
    generations: Annotated[int, Field(ge=1)] = 15
    loss_rows: Annotated[int, Field(ge=1)] | None = 128
    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    mixture: bool = True
    predict: bool = False
    subsets: Sequence[str] = ()
    ratios: Sequence[Annotated[float, Field(gt=0, lt=1)]] | None = None
    cells: Mapping[str, Any] | None = None
    points: Annotated[int, Field(ge=1)] | None = None
    cell: Mapping[str, Any] | None = None
    axes: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    caveats: Sequence[str] = ()
    debug: Literal["shrink", "rehearse"] | None = None

    def overrides_of(self, run: str) -> list[str]:
        """Overrides of one run's `train.py` command.

        Args:
            run: A task, `mix`, or `base`.
        """
        if self.debug == "shrink":
            return []
        if run == "base":
            return [*self.base_overrides, *self.train_overrides, *self.cell_overrides("base")]
        found = [*self.train_overrides, *self.run_overrides.get(run, [])]
        found += self.model_overrides[self.model].get(run, []) if self.model_overrides else []
        found += [f"data.fraction={self.fraction:g}"] if self.fraction < 1 else []
        found += [*self.cell_overrides("train"), *self.cell_overrides("mix" if run == "mix" else "specialist")]
        return [*found, *SMALL_TRAINING] if self.debug == "rehearse" else found

    def cell_overrides(self, target: str) -> list[str]:
        """What the cell of this plan changes in the commands of a target; nothing without a cell."""
        return overrides_for(target, self.cell or {}, self.axes, len(self.tasks))

    @property
    def all_cells(self) -> list[Cell]:
        """The cells of this plan; none if it is a single study."""
        return [] if self.cell is not None else list_cells(self.cells or {}, self.points, self.axes)

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits on which answers are generated; validation data are used only to choose coefficients."""
        if self.subsets:
            return ()
        return ("validation", "test") if self.mixture else ("test",)

    @property
    def has_usual_tasks(self) -> bool:
        """True if the tasks are the defaults of the other scripts."""
        return list(self.tasks) == USUAL_TASKS

    @property
    def is_standard(self) -> bool:
        """True if trained checkpoints have the standard names, under which a merge finds them by itself."""
        own = (self.overrides, self.train_overrides, self.base_overrides, self.run_overrides, self.model_overrides)
        return not any(own) and not self.cell and self.fraction == 1 and self.has_usual_tasks

    def task_problems(self, tasks: Sequence[str]) -> list[str]:
        """Problems of keys that name tasks.

        Args:
            tasks: Names of the tasks, in their order.
        """
        lacking = [task for task in tasks if task not in self.headline and not self.subsets]
        named = {run for runs in (self.run_overrides, *self.model_overrides.values()) for run in runs}
        return [
            *(f"study.headline lacks a metric for {task}; add +study.headline.{task}=METRIC" for task in lacking),
            *(
                f"study.run_overrides or study.model_overrides names {run}, expected a task ({', '.join(tasks)}) or mix"
                for run in sorted(named - {*tasks, "mix"})
            ),
        ]

    def __post_init__(self) -> None:
        problems = [*self._grid_problems(), *self._ratio_problems(), *axes_problems(self.axes, self.cell or {})]
        if len(self.tasks) < 2:
            problems.append(f"study.tasks: expected two or more tasks, got {list(self.tasks)}")
        if self.model_overrides and self.model not in self.model_overrides:
            known = ", ".join(self.model_overrides)
            problems.append(
                f"study.model_overrides has no entry for study.model={self.model}, only for {known}; add one"
            )
        if problems:
            raise UserError("; ".join(problems))

    def _ratio_problems(self) -> list[str]:
        if self.ratios is None:
            return []
        problems = []
        if not self.ratios or len(set(self.ratios)) < len(self.ratios) or not self.mixture:
            problems.append(f"study.ratios: expected different proportions of mixtures, got {list(self.ratios)}")
        if any("mix.ratio" in word for word in self.cell_overrides("mix")):
            problems.append(f"study.ratios={list(self.ratios)} and study.cell both set mix.ratio; drop one of them")
        return problems

    def _grid_problems(self) -> list[str]:
        problems = []
        if not self.weights or not self.mask_seeds or self.seeds == []:
            problems.append("study.weights, study.mask_seeds and study.seeds must not be empty")
        if self.seeds is not None and len(set(self.seeds)) < len(self.seeds):
            problems.append(f"study.seeds: expected different training seeds, got {list(self.seeds)}")
        grids = self.grids or {}
        grid_points(grids, len(self.tasks))
        if bool(self.methods or self.methods_without_grid or grids) != self.mixture:
            got = f"study.methods={list(self.methods)} and study.mixture={str(self.mixture).lower()}"
            problems.append(f"a study compares merges with a mixture or has neither; got {got}")
        strangers = set(self.random_methods) - {*self.methods, *grids}
        problems += [
            f"study.random_methods names {name}, which is not in study.methods or study.grids"
            for name in sorted(strangers)
        ]
        if self.subsets and self.mixture:
            problems.append(f"study.subsets={list(self.subsets)} needs study.mixture=false and no study.methods")
        twice = set(self.methods_without_grid) & {*self.methods, *grids}
        return [
            *problems,
            *(
                f"study.methods_without_grid names {name}, which has a grid in study.methods or study.grids"
                for name in sorted(twice)
            ),
        ]
