"""Objectives of a search: their names, the data that they need, and what measures them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from src.config.checks import SPLITS, is_served
from src.evaluation.generators.hf import HFGenerator
from src.runs.record import Inputs
from src.search.loop import Objective
from src.search.settings import SearchSettings
from src.stages.benchmarks import benchmark_nodes, task_benchmarks
from src.stages.build import build, build_once
from src.stages.evaluate.identity import Benchmark, run_identity
from src.stages.job import SHARED_KEYS, Job, compose_job
from src.stages.search.scoring import AVERAGE, LOSS, SPLIT, BenchmarkScores, Generator, ValidationLoss
from src.stages.train.names import root_key
from src.stages.train.rows import sources_of
from src.stages.train.split_rows import source_rows
from src.utils.errors import UserError, unknown_choice
from src.utils.files import sha256_json


@dataclass(frozen=True)
class Objectives:
    """The objectives of a search and their data.

    Args:
        objectives: With directions.
        cfg: Of `merge.py`.
        sources: Validation rows by task; empty if no loss is needed.
        rows: Maximum number of rows per task; None: all.
        together: Whether several points are loaded at once.
        evaluation: The job of `evaluate.py` whose generator, sandbox and benchmarks are used.
        nodes: Config of every benchmark needed.
        averaged: Benchmarks of the average.
    """

    objectives: Sequence[Objective]
    cfg: DictConfig
    sources: Mapping[str, Sequence[Any]]
    rows: int | None
    together: bool
    evaluation: Job
    nodes: Mapping[str, DictConfig]
    averaged: Sequence[str]

    @classmethod
    def of(cls, job: Job, settings: SearchSettings) -> Objectives:
        """Read `search.objective`.

        Raises:
            UserError: A name is unknown or given twice, or a benchmark has no validation split.
        """
        names, tasks = settings.objectives, [str(task) for task in job.cfg.tasks]
        if not names or len(set(names)) < len(names):
            raise UserError(f"search.objective: expected one or more different names, got {names}")
        shared = [word for word in job.overrides if root_key(word) in SHARED_KEYS]
        evaluation = compose_job("evaluate", [*shared, f"split={SPLIT}", *settings.evaluate_overrides])
        losses = [LOSS, *(f"{LOSS}.{task}" for task in tasks)]
        scored = [name for name in names if name not in losses]
        usual = task_benchmarks(evaluation) if scored else {}
        averaged = [name for name, node in usual.items() if SPLIT in _splits(node)] if AVERAGE in scored else []
        if AVERAGE in scored and not averaged:
            raise UserError(f"search.objective=average: none of {', '.join(usual)} has a validation split; use loss")
        wanted = dict.fromkeys([*averaged, *(name.partition("/")[0] for name in scored if name != AVERAGE)])
        nodes = {name: usual[name] if name in usual else _other(evaluation, name, losses, usual) for name in wanted}
        for name, node in nodes.items():
            _check_split(name, _splits(node))
        sources = sources_of(job.cfg, str(job.cfg.model.data), tasks) if len(scored) < len(names) else {}
        objectives = [Objective(name, minimize=name in losses) for name in names]
        return cls(objectives, job.cfg, sources, settings.rows, settings.batch > 1, evaluation, nodes, averaged)

    def identity(self) -> tuple[dict[str, Any], Inputs]:
        """The config that decides the scores, and the hashes of the data."""
        built = self._benchmarks()
        config, items = run_identity(self.evaluation, self.nodes, built) if built else ({}, {})
        rows = {task: _hash(found) for task, found in self.sources.items()}
        recipe = self.cfg.model.recipe
        losses = {"rows": self.rows, "max_length": recipe.max_length} if rows else {}
        generator = OmegaConf.to_container(self.evaluation.cfg.generator, resolve=True)
        return {"losses": losses, "benchmarks": config, "generator": generator}, {"rows": rows, **items}

    def generator(self) -> Generator:
        """The generator that holds the model in memory.

        Raises:
            UserError: A loss is needed, and the generator gives none, or it is a server.
        """
        if is_served(self.evaluation.cfg):
            raise UserError("a search needs generator=hf or vllm; a server (generator=openai) takes no merged weights")
        found: Generator = build_once(self.evaluation.cfg.generator)
        if self.sources and not isinstance(found, HFGenerator):
            raise UserError(
                "search.objective=loss needs generator=hf; take generator= out of search.evaluate_overrides"
            )
        return found

    def losses(self, checkpoint: Path) -> ValidationLoss | None:
        """The measure of the losses; None if none is needed.

        Args:
            checkpoint: Directory with the tokenizer.
        """
        return ValidationLoss.of(self.cfg, self.sources, checkpoint, self.rows) if self.sources else None

    def scores(self, scratch: Path) -> BenchmarkScores | None:
        """The measure of the benchmarks, still without specialists; None if none is needed.

        Args:
            scratch: Directory for answers.
        """
        if not self.nodes:
            return None
        judge = build_once(self.evaluation.cfg.sandbox)
        return BenchmarkScores(self._benchmarks(), judge, scratch / "samples", self.averaged)

    def _benchmarks(self) -> dict[str, Benchmark]:
        found: dict[str, Benchmark] = {name: build(node) for name, node in self.nodes.items()}
        for objective in self.objectives:
            name, _, metric = objective.name.partition("/")
            if metric and metric not in found[name].definitions:
                known = [f"{name}/{own}" for own in found[name].definitions]
                raise unknown_choice("search.objective", objective.name, known)
        return found


def _splits(node: DictConfig) -> Sequence[str]:
    return list(node.get("splits", SPLITS))


def _other(evaluation: Job, name: str, losses: Sequence[str], usual: Mapping[str, Any]) -> DictConfig:
    """The node of a benchmark that is not one of the tasks' own."""
    words = [*evaluation.overrides, f"benchmark={name}"]
    try:
        [node] = benchmark_nodes(compose_job("evaluate", words)).values()
    except UserError as error:
        raise unknown_choice("search.objective", name, [*losses, AVERAGE, *usual]) from error
    return node


def _check_split(name: str, splits: Sequence[str]) -> None:
    if SPLIT not in splits:
        raise UserError(
            f"search.objective={name}: this benchmark has no validation split, only {', '.join(splits)}, and a search "
            "must not see test data; use loss, or a benchmark with a validation split"
        )


def _hash(sources: Sequence[Any]) -> str:
    return sha256_json([asdict(example) for example in source_rows(sources, SPLIT)])
