"""A study as written in conf/study, and the models that it compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from src.stages.job import Job
from src.utils.errors import UserError


@dataclass(frozen=True)
class Subject:
    """One model of the study.

    Attributes:
        name: Unique and readable, e.g. `ties 0.3`; the same for all mask seeds.
        kind: `base`, `specialist`, `mix` or `merge`.
        task: The specialist's task, else None.
        method: The merge method, else None.
        weight: Coefficient of the first task, else None.
        mask_seed: Seed of a merge's random masks, else None.
        job: What makes its checkpoint.
    """

    name: str
    kind: str
    job: Job
    task: str | None = None
    method: str | None = None
    weight: float | None = None
    mask_seed: int | None = None

    @property
    def label(self) -> str:
        """The name, and the mask seed where it is not the grid's usual one."""
        return f"{self.name}, mask seed {self.mask_seed}" if self.mask_seed else self.name


@dataclass(frozen=True)
class StudyPlan:
    """A study as written in conf/study.

    Args:
        name: Names its run directory.
        title: Heads its report.
        model: Choice of conf/model.
        tasks: Task names; `weights` are coefficients of the first.
        methods: Choices of conf/merge.
        weights: The grid, each in 0-1.
        gridless: Methods that choose their coefficients themselves: one point each, with the defaults of conf/merge.
        random_methods: Methods whose chosen point is merged again with every seed of `mask_seeds`.
        mask_seeds: The first is that of the grid.
        headline: Task to the metric that stands for it in figures.
        metrics: Those that enter the average by which points are chosen and the winner is called; None: all.
        base_overrides: Further overrides of the line that pretrains the base.
        train_overrides: Further overrides of every `train.py` line, likewise the other two.
    """

    name: str
    title: str
    model: str
    tasks: Sequence[str]
    methods: Sequence[str]
    weights: Sequence[float]
    gridless: Sequence[str]
    random_methods: Sequence[str]
    mask_seeds: Sequence[int]
    headline: Mapping[str, str]
    metrics: Sequence[str] | None
    base_overrides: Sequence[str]
    train_overrides: Sequence[str]
    merge_overrides: Sequence[str]
    evaluate_overrides: Sequence[str]

    def __post_init__(self) -> None:
        problems = []
        if len(self.tasks) < 2:
            problems.append(f"study.tasks needs two tasks or more, got {list(self.tasks)}")
        if not self.methods or not self.weights or not self.mask_seeds:
            problems.append("study.methods, study.weights and study.mask_seeds must not be empty")
        problems += [f"study.weights holds {weight}, expected 0-1" for weight in self.weights if not 0 <= weight <= 1]
        strangers = set(self.random_methods) - set(self.methods)
        problems += [f"study.random_methods names {name}, which is not in study.methods" for name in sorted(strangers)]
        twice = set(self.gridless) & set(self.methods)
        problems += [f"study.gridless names {name}, which has a grid in study.methods" for name in sorted(twice)]
        problems += [f"study.headline lacks a metric for {task}" for task in self.tasks if task not in self.headline]
        if problems:
            raise UserError("; ".join(problems))
