"""The jobs of a study, each with the command that a user would type for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from src.stages.build import build
from src.stages.checkpoints import is_published
from src.stages.job import Job, compose_job
from src.stages.merge.jobs import merge_directory
from src.stages.study.plan import SMALL_BENCHMARK, PlannedModel, StudyPlan
from src.stages.train.names import run_directory


class StudyJobs:
    """All jobs of a plan for one training seed; each is composed once.

    Args:
        plan: The study.
        seed: Of training and data order.
        output_root: Directory of all run directories.
        searchpath: `hydra.searchpath=...` as typed for the study, or nothing.
    """

    def __init__(self, plan: StudyPlan, seed: int, output_root: str, searchpath: Sequence[str] = ()) -> None:
        self.plan, self.seed, self.output_root = plan, seed, output_root
        self._composed: dict[tuple[str, ...], Job] = {}
        self._common = [] if plan.model == "pocket" else [f"model={plan.model}"]
        self._common += [f"debug={plan.debug}"] if plan.debug else []
        self._common += [] if plan.has_usual_tasks else [f"tasks=[{','.join(plan.tasks)}]"]
        self._common += plan.overrides
        self._common += [f"seed={seed}"] if seed else []
        self._common += [f"output_root={output_root}"] if output_root != "runs" else []
        self._common += searchpath

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks, in the order of their coefficients."""
        return [str(task) for task in self._base.cfg.tasks]

    @cached_property
    def trained(self) -> list[PlannedModel]:
        """Base, one specialist per task, and the mixture, in the order in which they must be trained."""
        start = [] if self.plan.is_standard else self._base_place
        specialists = [
            PlannedModel(
                f"{task} specialist", "specialist",
                task=task,
                job=self._run(task, "strategy=specialist", f"task={task}", *start),
            )
            for task in self.tasks
        ]  # fmt: skip
        planned = [PlannedModel("base", "base", job=self._base), *specialists]
        if self.plan.mixture:
            planned.append(PlannedModel("mixture", "mix", job=self._run("mix", "strategy=mix", *start)))
        return planned

    @cached_property
    def grid(self) -> list[PlannedModel]:
        """Every method at every weight with the first mask seed, and each method without a grid once."""
        points: list[tuple[str, float | None]] = [
            (method, weight) for method in self.plan.methods for weight in self.plan.weights
        ]
        points += [(method, None) for method in self.plan.methods_without_grid]
        return [self.merge_point(method, weight, self.plan.mask_seeds[0]) for method, weight in points]

    def merge_point(
        self, method: str, weight: float | None, mask_seed: int, save_weights: bool = False
    ) -> PlannedModel:
        """One merge of the specialists.

        Args:
            method: Choice of conf/merge.
            weight: Coefficient of the first task; None for a method without a grid.
            mask_seed: Of random masks.
            save_weights: Write the merged weights; otherwise evaluation merges into the model in memory.
        """
        overrides = [f"merge={method}"] + ([] if weight is None else [f"merge.weight={weight:g}"])
        overrides += [] if save_weights else ["save_weights=false"]
        if mask_seed != self.plan.mask_seeds[0]:
            overrides.append(f"merge.seed={mask_seed}")
        job = self._job("merge", *overrides, *self._parents, *self._common, *self.plan.merge_overrides)
        name = method if weight is None else f"{method} {weight:g}"
        return PlannedModel(name, "merge", method=method, weight=weight, job=job, mask_seed=mask_seed)

    def evaluation(self, model: PlannedModel, checkpoint: str, split: str) -> Job:
        """The evaluation of a model's checkpoint on a split."""
        overrides = [f"checkpoint={checkpoint}", f"split={split}", *self._common, *self.plan.evaluate_overrides]
        overrides += self.plan.merged_evaluate_overrides if model.kind == "merge" else []
        return self._job("evaluate", *overrides, *self._small_benchmarks)

    def diagnosis(self, variants: Mapping[str, str]) -> Job:
        """The weight diagnosis of the specialists and of further variants."""
        named = ", ".join(f"{name}: {path}" for name, path in variants.items())
        return self._job("diagnose", f"variants={{{named}}}", *self._parents, *self._common)

    def checkpoint(self, model: PlannedModel) -> str:
        """Directory of a model's checkpoint, whether it exists yet or not."""
        if model.kind == "merge":
            return str(merge_directory(model.job, build(model.job.cfg.merge)))
        return str(model.job.cfg.model.path if self.is_published(model) else run_directory(model.job))

    @staticmethod
    def is_published(model: PlannedModel) -> bool:
        """True for a base that is not trained here."""
        return model.kind == "base" and is_published(model.job.cfg.model)

    @cached_property
    def _base(self) -> Job:
        return self._run("base", "strategy=base")

    @property
    def _base_place(self) -> list[str]:
        """The override that names the base; a published one is found through `model`."""
        return [] if is_published(self._base.cfg.model) else [f"base={run_directory(self._base)}"]

    @cached_property
    def _parents(self) -> list[str]:
        """The overrides that name the parents, unless a merge finds them in the standard directories."""
        if self.plan.is_standard:
            return []
        specialists = {s.task: run_directory(s.job) for s in self.trained if s.task is not None}
        return [*self._base_place, *(f"specialists.{task}={place}" for task, place in specialists.items())]

    @cached_property
    def _small_benchmarks(self) -> list[str]:
        """Overrides of a rehearsal: a few short answers are enough."""
        if self.plan.debug != "rehearse":
            return []
        cfg = self._base.cfg
        names = dict.fromkeys(name for task in cfg.tasks.values() for name in task.benchmarks[cfg.model.data])
        return [f"++benchmarks.{name}.{key}={value}" for name in names for key, value in SMALL_BENCHMARK.items()]

    def _run(self, run: str, *overrides: str) -> Job:
        return self._job("train", *overrides, *self._common, *self.plan.overrides_of(run))

    def _job(self, script: str, *overrides: str) -> Job:
        line = (script, *overrides)
        if line not in self._composed:
            self._composed[line] = compose_job(script, list(overrides))
        return self._composed[line]
