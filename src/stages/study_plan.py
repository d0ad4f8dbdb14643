"""What a study runs: every job, by the very command line that a user would type for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from src.stages.job import Job, compose_job
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
        random_methods: Methods whose chosen point is merged again with every seed of `mask_seeds`.
        mask_seeds: The first is that of the grid.
        headline: Task to the metric that stands for it in figures.
        train_overrides: Further overrides of every `train.py` line, likewise the other two.
    """

    name: str
    title: str
    model: str
    tasks: Sequence[str]
    methods: Sequence[str]
    weights: Sequence[float]
    random_methods: Sequence[str]
    mask_seeds: Sequence[int]
    headline: Mapping[str, str]
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
        problems += [f"study.headline lacks a metric for {task}" for task in self.tasks if task not in self.headline]
        if problems:
            raise UserError("; ".join(problems))

    def trained(self, seed: int, output_root: str) -> list[Subject]:
        """Base, one specialist a task, and the mixture, in the order in which they must be made."""
        common = [*self._common(seed, output_root), *self.train_overrides]

        def job(*overrides: str) -> Job:
            return compose_job("train", [*overrides, *common])

        return [
            Subject("base", "base", job("strategy=base")),
            *(
                Subject(f"{task} specialist", "specialist", job("strategy=specialist", f"task={task}"), task=task)
                for task in self.tasks
            ),
            Subject("mixture", "mix", job("strategy=mix")),
        ]

    def merged(self, seed: int, output_root: str) -> list[Subject]:
        """Every method at every weight, with the first mask seed."""
        return [
            self.merge_point(method, weight, self.mask_seeds[0], seed, output_root)
            for method in self.methods
            for weight in self.weights
        ]

    def merge_point(self, method: str, weight: float, mask_seed: int, seed: int, output_root: str) -> Subject:
        """One merge of the specialists."""
        overrides = [f"merge={method}", f"merge.weight={weight:g}"]
        if mask_seed != self.mask_seeds[0]:
            overrides.append(f"merge.seed={mask_seed}")
        job = compose_job("merge", [*overrides, *self._common(seed, output_root), *self.merge_overrides])
        return Subject(f"{method} {weight:g}", "merge", job, method=method, weight=weight, mask_seed=mask_seed)

    def evaluation(self, checkpoint: str, split: str, seed: int, output_root: str) -> Job:
        """The evaluation of a checkpoint on a split."""
        overrides = [f"checkpoint={checkpoint}", f"split={split}", *self._common(seed, output_root)]
        return compose_job("evaluate", [*overrides, *self.evaluate_overrides])

    def diagnosis(self, variants: Mapping[str, str], seed: int, output_root: str) -> Job:
        """The weight diagnosis of the specialists and of further variants."""
        named = ", ".join(f"{name}: {path}" for name, path in variants.items())
        return compose_job("diagnose", [f"variants={{{named}}}", *self._common(seed, output_root)])

    def _common(self, seed: int, output_root: str) -> list[str]:
        common = [] if self.model == "pocket" else [f"model={self.model}"]
        common += [f"seed={seed}"] if seed else []
        return common + ([f"output_root={output_root}"] if output_root != "runs" else [])
