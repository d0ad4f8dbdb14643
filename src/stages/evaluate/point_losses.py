"""Losses of many checkpoints and merge points: rows tokenized once, one model in memory, points merged together.

A point costs its forward passes and its share of one pass over the parents. With a journal, an interrupted call goes on
where it ended, and no point is measured twice.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from src.checkpoints.fingerprint import fingerprint
from src.config.checks import is_served
from src.data.batches import HeldOutRows
from src.evaluation.benchmarks.loss import LossBenchmark
from src.evaluation.generators.hf import HFGenerator
from src.evaluation.statistics.losses import RowLosses
from src.lit_modules.heldout import row_losses
from src.merging.engine.lazy import LazyMerge
from src.runs.record import Inputs
from src.stages.benchmarks import benchmark_nodes, with_split
from src.stages.build import build, build_once
from src.stages.evaluate.identity import item_hashes
from src.stages.evaluate.losses import tokenized
from src.stages.job import Job
from src.stages.train.rows import token_cache
from src.utils.errors import UserError
from src.utils.files import sha256_json
from src.utils.jsonl import append_sealed, read_sealed
from src.utils.progress import track

Losses = Mapping[str, RowLosses]  # task -> losses of its rows
Subject = Path | LazyMerge
TOGETHER = 2**30  # bytes of merged weights in memory at a time, in float32
MOST = 64  # points merged in one pass


@dataclass
class Spent:
    """Cost of measuring.

    Args:
        passes: Checkpoints and points that were measured, each with the rows of every task.
        seconds: Time that it took.
    """

    passes: int = 0
    seconds: float = 0.0


class PointLosses:
    """Measures validation losses.

    Args:
        benchmarks: One per task.
        split: Of the rows.
        generator: Holds the model.
        cache: Directory of the token cache; None: in memory.
        journal: JSON lines, one per measured point; None: nothing is kept.
        settings: What decides a loss besides weights and rows.
    """

    def __init__(
        self,
        benchmarks: Sequence[LossBenchmark],
        split: str,
        generator: HFGenerator,
        cache: str | None = None,
        journal: Path | None = None,
        settings: Any = None,
    ) -> None:
        self.benchmarks, self.split, self.generator, self.cache = list(benchmarks), split, generator, cache
        self.journal, self.spent = journal, Spent()
        self._key = sha256_json([self.content(), settings])
        self._known = {} if journal is None else {row["key"]: row for row in read_sealed(journal)}
        self._rows: tuple[object, dict[str, HeldOutRows]] | None = None

    @classmethod
    def of(cls, job: Job, journal: Path | None = None) -> PointLosses:
        """Read a job of `evaluate.py benchmark=nll`; its checkpoint does not matter.

        Raises:
            UserError: Rows are missing, or `generator` is not `hf`.
        """
        cfg = with_split(job).cfg
        generator = None if is_served(cfg) else build_once(cfg.generator)
        if not isinstance(generator, HFGenerator):
            raise UserError("losses need generator=hf: other generators give no losses of given answers")
        benchmarks: list[LossBenchmark] = [build(node) for node in benchmark_nodes(job).values()]
        limits = [(one.task, one.max_length, one.limit) for one in benchmarks]
        settings = [limits, str(generator.device), str(generator.dtype)]
        cache = token_cache("auto", cfg.output_root, str(cfg.model.data))
        return cls(benchmarks, cfg.split, generator, cache, journal, settings)

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks."""
        return [benchmark.task for benchmark in self.benchmarks]

    def measure(self, subjects: Mapping[str, Subject]) -> dict[str, Losses | UserError]:
        """Measure checkpoints and points.

        Args:
            subjects: By name: a directory, or a point; points of the same parents are merged together.

        Returns:
            By name the losses of every task, or the reason why a point cannot be merged.

        Raises:
            UserError: A checkpoint is missing, or the parents of points do not match.
        """
        keys = {name: self._key_of(subject) for name, subject in subjects.items()}
        missing = {key: subjects[name] for name, key in keys.items() if key not in self._known}
        failed: dict[str, UserError] = {}
        started = time.monotonic()
        for key, found in track(self._measured(missing), "losses", total=len(missing)):
            if isinstance(found, UserError):
                failed[key] = found
                continue
            seconds, started = time.monotonic() - started, time.monotonic()
            self._keep(key, found, seconds)
            self.spent.passes += 1
            self.spent.seconds += seconds
        return {name: failed[key] if key in failed else self._read(self._known[key]) for name, key in keys.items()}

    def cost_of(self, subjects: Iterable[Subject]) -> Spent:
        """Cost of subjects that have been measured, also by an interrupted call; the first point bears its pass's."""
        rows = [self._known[key] for key in {self._key_of(subject) for subject in subjects}]
        return Spent(len(rows), sum(float(row["seconds"]) for row in rows))

    def _key_of(self, subject: Subject) -> str:
        weights: Inputs | str = subject.fingerprint if isinstance(subject, LazyMerge) else fingerprint(subject)
        return sha256_json([self._key, weights])

    def _measured(self, subjects: Mapping[str, Subject]) -> Iterator[tuple[str, Losses | UserError]]:
        """Checkpoints one by one, then points in passes over their parents."""
        points: dict[tuple[Path, ...], dict[str, LazyMerge]] = {}
        for key, subject in subjects.items():
            if isinstance(subject, LazyMerge):
                parents = (subject.directory, subject.base, *subject.specialists.values())
                points.setdefault(parents, {})[key] = subject
                continue
            self.generator.load(subject)
            yield key, self._losses()
        for group in points.values():
            yield from self._points(group)

    def _points(self, group: Mapping[str, LazyMerge]) -> Iterator[tuple[str, Losses | UserError]]:
        names, size = list(group), _together(next(iter(group.values())))
        for start in range(0, len(names), size):
            keys = names[start : start + size]
            loaded = self.generator.load_lazy_merges([group[key] for key in keys])
            for key, error in zip(keys, loaded, strict=True):
                yield key, self._losses() if error is None else error

    def content(self) -> dict[str, str]:
        """Hash of the rows by task."""
        return item_hashes(self.split, {one.task: one for one in self.benchmarks})

    def rows(self) -> Mapping[str, HeldOutRows]:
        """The rows of every task, in the tokens of the loaded model."""
        tokenizer = self.generator.tokenizer
        assert tokenizer is not None
        if self._rows is None or self._rows[0] is not tokenizer:
            rows = {one.task: tokenized(one, self.split, tokenizer, self.cache) for one in self.benchmarks}
            self._rows = tokenizer, rows
        return self._rows[1]

    def _losses(self) -> Losses:
        model = self.generator.model
        assert model is not None
        return {task: row_losses(model, rows) for task, rows in self.rows().items()}

    def _keep(self, key: str, losses: Losses, seconds: float) -> None:
        row = {
            "key": key,
            "seconds": round(seconds, 4),
            "losses": {
                task: {"ids": list(found.ids), "sums": found.sums.tolist(), "tokens": found.tokens.tolist()}
                for task, found in losses.items()
            },
        }
        self._known[key] = row
        if self.journal is not None:
            append_sealed(self.journal, row)

    @staticmethod
    def _read(row: Mapping[str, Any]) -> Losses:
        return {
            task: RowLosses(found["ids"], np.array(found["sums"]), np.array(found["tokens"]))
            for task, found in row["losses"].items()
        }


def _together(point: LazyMerge) -> int:
    """Number of points whose weights are in memory together."""
    base, _ = point.opened or (None, None)
    if base is None:
        return 1
    size = 4 * sum(base.table[name].numel for name in base.names)
    return max(1, min(MOST, TOGETHER // max(size, 1)))
