"""The jobs of a study, each with the command that a user would type for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from omegaconf import OmegaConf

from src.config.quoting import value_of
from src.stages.build import build
from src.stages.checkpoints import is_published
from src.stages.job import Job, compose_job
from src.stages.merge.jobs import merge_directory
from src.stages.study.grids import Coefficients, grid_points
from src.stages.study.plan import SMALL_BENCHMARK, PlannedModel, StudyPlan
from src.stages.train.names import run_directory

Place = float | Coefficients | None


class StudyJobs:
    """All jobs of a plan; each is composed once.

    The base has the study's `seed` and is shared by all training seeds; specialists, mixtures, merges and their
    evaluations exist once per training seed.

    Args:
        plan: The study.
        seed: Of the base, and of training and data order unless the plan has seeds.
        output_root: Directory of all run directories.
        searchpath: `hydra.searchpath=...` as typed for the study, or nothing.
    """

    def __init__(self, plan: StudyPlan, seed: int, output_root: str, searchpath: Sequence[str] = ()) -> None:
        self.plan, self.seed, self.output_root = plan, seed, output_root
        self.seeds = [seed] if plan.seeds is None else list(plan.seeds)
        self._composed: dict[tuple[str, ...], Job] = {}
        self._everywhere = [] if plan.model == "pocket" else [f"model={plan.model}"]
        self._everywhere += [f"debug={plan.debug}"] if plan.debug else []
        self._everywhere += [] if plan.has_usual_tasks else [f"tasks=[{','.join(plan.tasks)}]"]
        self._everywhere += plan.overrides
        self._at_the_end = [f"output_root={value_of(output_root)}"] if output_root != "runs" else []
        self._at_the_end += searchpath

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks, in the order of their coefficients."""
        return [str(task) for task in self.base.job.cfg.tasks]

    @cached_property
    def base(self) -> PlannedModel:
        """The base of all training seeds."""
        return PlannedModel("base", "base", job=self._run("base", self.seed, "strategy=base"), seed=self.seed)

    @cached_property
    def trained(self) -> list[PlannedModel]:
        """The base, then per training seed one specialist per task and its mixtures: an order of training."""
        return [self.base, *(model for seed in self.seeds for model in self._trained_with(seed))]

    def _trained_with(self, seed: int) -> list[PlannedModel]:
        start = [] if self._is_standard(seed) else self._base_place
        planned = [
            PlannedModel(
                f"{task} specialist", "specialist",
                task=task, seed=seed,
                job=self._run(task, seed, "strategy=specialist", f"task={task}", *start),
            )
            for task in self.tasks
        ]  # fmt: skip
        if self.plan.mixture:
            ratios: Sequence[float | None] = self.plan.ratios or [None]
            planned += [self._mixture(seed, ratio, start) for ratio in ratios]
        return planned

    def _mixture(self, seed: int, ratio: float | None, start: Sequence[str]) -> PlannedModel:
        """The mixture of a training seed, with its own settings or with a proportion of the first task."""
        job = self._run("mix", seed, "strategy=mix", *start)
        if ratio is None:
            return PlannedModel("mixture", "mix", seed=seed, job=job)
        kept = [word for word in job.overrides if not word.startswith(("mix.ratio=", "mix.ratios="))]
        job = self._job("train", *kept, f"mix.ratio={ratio:g}")
        return PlannedModel(f"mixture {ratio:g}", "mix", weight=ratio, seed=seed, job=job)

    @cached_property
    def candidates(self) -> list[PlannedModel]:
        """Several mixtures, of which validation data choose one; none if there is a single mixture."""
        return [] if self.plan.ratios is None else [model for model in self.trained if model.kind == "mix"]

    @cached_property
    def grid(self) -> list[PlannedModel]:
        """Per training seed, every method at every weight with the first mask seed; methods without a grid once."""
        points: list[tuple[str, Place]] = [
            (method, weight) for method in self.plan.methods for weight in self.plan.weights
        ]
        points += grid_points(self.plan.grids or {}, len(self.tasks))
        points += [(method, None) for method in self.plan.methods_without_grid]
        first = self.plan.mask_seeds[0]
        return [self.merge_point(method, weight, first, seed) for seed in self.seeds for method, weight in points]

    def merge_point(
        self, method: str, at: Place, mask_seed: int, seed: int | None = None, save_weights: bool = False
    ) -> PlannedModel:
        """One merge of the specialists of a training seed.

        Args:
            method: Choice of conf/merge.
            at: Coefficient of the first task, or coefficients of all tasks; None for a method without a grid.
            mask_seed: Of random masks.
            seed: Training seed; None: the first.
            save_weights: Write the merged weights; otherwise evaluation merges into the model in memory.
        """
        seed = self.seeds[0] if seed is None else seed
        varied = self._coefficients(at)
        varied |= {} if save_weights else {"save_weights": "false"}
        varied |= {} if mask_seed == self.plan.mask_seeds[0] else {"merge.seed": str(mask_seed)}
        overrides = [*self._parents(seed), *self._common(seed), *self.plan.merge_overrides]
        overrides += self.plan.cell_overrides("merge")
        job = self._job("merge", f"merge={method}", *overrides, after=1, **varied)
        weight, weights = (None, at) if isinstance(at, tuple) else (at, None)
        values = () if at is None else at if isinstance(at, tuple) else (at,)
        name = " ".join([method, *(["+".join(f"{value:g}" for value in values)] if values else [])])
        return PlannedModel(
            name, "merge", method=method, weight=weight, weights=weights, job=job, seed=seed, mask_seed=mask_seed
        )

    def again(
        self, point: PlannedModel, seed: int, mask_seed: int | None = None, save_weights: bool = False
    ) -> PlannedModel:
        """A point for a training seed, with other masks, or with its weights on disk for any Hugging Face tool."""
        assert point.method is not None
        at = point.weight if point.weights is None else point.weights
        mask_seed = self.plan.mask_seeds[0] if mask_seed is None else mask_seed
        return self.merge_point(point.method, at, mask_seed, seed, save_weights)

    @cached_property
    def losses(self) -> Job:
        """The job that says how validation losses are measured; it has no checkpoint."""
        rows = [] if self.plan.loss_rows is None else [f"benchmark.limit={self.plan.loss_rows}"]
        generator = [word for word in self.plan.evaluate_overrides if word.startswith("generator")]
        return self._job("evaluate", "benchmark=nll", *rows, *self._common(self.seeds[0]), *generator)

    def merge_settings(self, method: str) -> dict[str, Any]:
        """`_target_` and keys of a method of conf/merge, as the study's commands set them."""
        job = self._job("merge", f"merge={method}", *self._common(self.seeds[0]), *self.plan.merge_overrides)
        found: Any = OmegaConf.to_container(job.cfg.merge, resolve=True)
        return dict(found)

    def evaluation(self, model: PlannedModel, checkpoint: str, split: str) -> Job:
        """The evaluation of a model's checkpoint on a split."""
        overrides = [*self._common(model.seed), *self.plan.evaluate_overrides]
        overrides += self.plan.merged_evaluate_overrides if model.kind == "merge" else []
        overrides += self.plan.cell_overrides("evaluate")
        return self._job(
            "evaluate", *overrides, *self._small_benchmarks, after=0, checkpoint=value_of(checkpoint), split=split
        )

    def diagnosis(self, variants: Mapping[str, str]) -> Job:
        """The weight diagnosis of the first training seed's specialists and of further variants."""
        named = ", ".join(f"{name}: {value_of(path)}" for name, path in variants.items())
        words = [f"variants={{{named}}}", *(["predict=true"] if self.plan.predict else [])]
        return self._job("diagnose", *words, *self._parents(self.seeds[0]), *self._common(self.seeds[0]))

    def checkpoint(self, model: PlannedModel) -> str:
        """Directory of a model's checkpoint, whether it exists yet or not."""
        if model.kind == "merge":
            return str(merge_directory(model.job, build(model.job.cfg.merge)))
        return str(model.job.cfg.model.path if self.is_published(model) else run_directory(model.job))

    @staticmethod
    def is_published(model: PlannedModel) -> bool:
        """True for a base that is not trained here."""
        return model.kind == "base" and is_published(model.job.cfg.model)

    def _coefficients(self, at: Place) -> dict[str, str]:
        if at is None:
            return {}
        if isinstance(at, tuple):
            named = ", ".join(f"{task}: {value:g}" for task, value in zip(self.tasks, at, strict=True))
            return {"merge.weights": f"{{{named}}}"}
        return {"merge.weight": f"{at:g}"}

    def _is_standard(self, seed: int) -> bool:
        """True if base and specialists of a training seed are those that a merge finds by itself."""
        return self.plan.is_standard and seed == self.seed

    def _common(self, seed: int) -> list[str]:
        return [*self._everywhere, *([f"seed={seed}"] if seed else []), *self._at_the_end]

    @property
    def _base_place(self) -> list[str]:
        """The override that names the base; a published one is found through `model`."""
        return [] if self.is_published(self.base) else [f"base={value_of(run_directory(self.base.job))}"]

    def _parents(self, seed: int) -> list[str]:
        """The overrides that name the parents, unless a merge finds them in the standard directories."""
        if self._is_standard(seed):
            return []
        specialists = {s.task: run_directory(s.job) for s in self.trained if s.task is not None and s.seed == seed}
        return [*self._base_place, *(f"specialists.{task}={value_of(place)}" for task, place in specialists.items())]

    @cached_property
    def _small_benchmarks(self) -> list[str]:
        """Overrides of a rehearsal: a few short answers are enough."""
        if self.plan.debug != "rehearse":
            return []
        cfg = self.base.job.cfg
        names = dict.fromkeys(name for task in cfg.tasks.values() for name in task.benchmarks[cfg.model.data])
        return [f"++benchmarks.{name}.{key}={value}" for name in names for key, value in SMALL_BENCHMARK.items()]

    def _run(self, run: str, seed: int, *overrides: str) -> Job:
        return self._job("train", *overrides, *self._common(seed), *self.plan.overrides_of(run))

    def _job(self, script: str, *overrides: str, after: int = 0, **varied: str) -> Job:
        """A job whose composed config is shared with all that differ from it only in `varied`.

        Args:
            script: The script.
            overrides: As typed.
            after: Position among `overrides` at which the varied ones are typed.
            varied: Plain keys -> values.
        """
        line = (script, *overrides)
        if line not in self._composed:
            self._composed[line] = compose_job(script, list(overrides))
        return self._composed[line].varied(after, varied) if varied else self._composed[line]
