"""A study as written in conf/study, and the models that it compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from src.reporting.study_report import StudyModel
from src.stages.job import USUAL_TASKS, Job
from src.utils.errors import UserError, unknown_choice

REHEARSALS = ("shrink", "rehearse")
# A few steps on a few rows: what the sizes of a preset shrink to in a rehearsal.
SMALL_TRAINING = (
    *("strategy.steps=50", "strategy.batch_tokens=null", "strategy.batch_size=4", "strategy.micro_batch=2"),
    *("strategy.max_length=256", "data.limit=40", "checkpoint.validate_every=25"),
    "strategy.learning_rate=0.01",  # so that a fresh model answers with frequent words: scores of 0 cannot be compared
)
SMALL_BENCHMARK = {"limit": 8, "decoding.max_new_tokens": 32}


@dataclass(frozen=True, kw_only=True)
class PlannedModel(StudyModel):
    """A model of the study with the job that makes it.

    Attributes:
        job: Makes its checkpoint.
        mask_seed: Seed of a merge's random masks, else None.
    """

    job: Job
    mask_seed: int | None = None

    @property
    def step(self) -> str:
        """The name, and the mask seed where it is not the grid's usual one."""
        return f"{self.name}, mask seed {self.mask_seed}" if self.mask_seed else self.name


@dataclass(frozen=True)
class StudyPlan:
    """A study as written in conf/study.

    Args:
        name: Names its run directory.
        title: Heads its report.
        model: Choice of conf/model.
        tasks: Files of conf/tasks; `weights` are coefficients of the first. Where other keys name a task, they say
            `codegen` for `codegen_fair` too.
        methods: Choices of conf/merge; with none, and no mixture, the specialists alone are trained and scored.
        weights: The grid, each in 0-1.
        methods_without_grid: Methods that choose their own coefficients: one point each, with the defaults of
            conf/merge.
        random_methods: Methods whose chosen point is merged again with every seed of `mask_seeds`.
        mask_seeds: The first is that of the grid.
        headline: Task to the metric that stands for it in figures.
        metrics: Those that enter the average by which points are chosen and the winner is called; None: all.
        base_overrides: Further overrides of the line that pretrains the base.
        train_overrides: Further overrides of every `train.py` line, likewise the other two.
        overrides: Further overrides of every line of every script, e.g. `model.path=DIR`.
        merged_evaluate_overrides: Further overrides of the `evaluate.py` lines of merges.
        run_overrides: Run (a task, or `mix`) -> further overrides of its `train.py` line.
        model_overrides: Model -> the same for this model; empty: the defaults of conf/model. Otherwise every model
            needs an entry.
        fraction: Share of every task's training rows.
        mixture: Whether there is one.
        caveats: Sentences for the report.
        debug: None; `shrink`: every line on a shrunken model in the pocket world, without the settings of runs, which
            are meant for a whole one; or `rehearse`: every line as it is, on a shrunken model and a few real rows.
    """

    name: str
    title: str
    model: str
    tasks: Sequence[str]
    methods: Sequence[str]
    weights: Sequence[float]
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
    fraction: float = 1.0
    mixture: bool = True
    caveats: Sequence[str] = ()
    debug: str | None = None

    def overrides_of(self, run: str) -> list[str]:
        """Overrides of one run's `train.py` line.

        Args:
            run: A task, `mix`, or `base`.
        """
        if self.debug == "shrink":
            return []
        if run == "base":
            return [*self.base_overrides, *self.train_overrides]
        found = [*self.train_overrides, *self.run_overrides.get(run, [])]
        found += self.model_overrides[self.model].get(run, []) if self.model_overrides else []
        found += [f"data.fraction={self.fraction:g}"] if self.fraction < 1 else []
        return [*found, *SMALL_TRAINING] if self.debug == "rehearse" else found

    @property
    def splits(self) -> tuple[str, ...]:
        """What models are scored on: coefficients are chosen on validation data, where there is something to choose."""
        return ("validation", "test") if self.mixture else ("test",)

    @property
    def has_usual_tasks(self) -> bool:
        """Whether the tasks are those that the other scripts take by themselves."""
        return list(self.tasks) == USUAL_TASKS

    @property
    def is_standard(self) -> bool:
        """Whether trained checkpoints have the standard names, under which merges look for them by themselves."""
        own = (self.overrides, self.train_overrides, self.base_overrides, self.run_overrides, self.model_overrides)
        return not any(own) and self.fraction == 1 and self.has_usual_tasks

    def task_problems(self, tasks: Sequence[str]) -> list[str]:
        """Keys that do not fit the tasks.

        Args:
            tasks: Names of those that `tasks` chooses, in their order.
        """
        lacking = [task for task in tasks if task not in self.headline]
        named = {run for runs in (self.run_overrides, *self.model_overrides.values()) for run in runs}
        return [
            *(f"study.headline lacks a metric for {task}; add +study.headline.{task}=METRIC" for task in lacking),
            *(
                f"study.run_overrides or study.model_overrides names {run}, expected a task ({', '.join(tasks)}) or mix"
                for run in sorted(named - {*tasks, "mix"})
            ),
        ]

    def __post_init__(self) -> None:
        problems = self._grid_problems()
        if len(self.tasks) < 2:
            problems.append(f"study.tasks needs two tasks or more, got {list(self.tasks)}")
        if self.model_overrides and self.model not in self.model_overrides:
            known = ", ".join(self.model_overrides)
            problems.append(
                f"study.model_overrides has no entry for study.model={self.model}, only for {known}; add one"
            )
        if not 0 < self.fraction <= 1:
            problems.append(f"study.fraction={self.fraction}, expected a share above 0, at most 1")
        if problems:
            raise UserError("; ".join(problems))
        if self.debug not in (*REHEARSALS, None):
            raise unknown_choice("study.debug", str(self.debug), [*REHEARSALS, "null"])

    def _grid_problems(self) -> list[str]:
        problems = []
        if not self.weights or not self.mask_seeds:
            problems.append("study.weights and study.mask_seeds must not be empty")
        if bool(self.methods or self.methods_without_grid) != self.mixture:
            problems.append("study.methods must not be empty, or study.mixture=false too: a comparison needs both")
        problems += [f"study.weights holds {weight}, expected 0-1" for weight in self.weights if not 0 <= weight <= 1]
        strangers = set(self.random_methods) - set(self.methods)
        problems += [f"study.random_methods names {name}, which is not in study.methods" for name in sorted(strangers)]
        twice = set(self.methods_without_grid) & set(self.methods)
        return [
            *problems,
            *(f"study.methods_without_grid names {name}, which has a grid in study.methods" for name in sorted(twice)),
        ]
