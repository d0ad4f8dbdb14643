"""Filter for training rows that overlap with items of the tasks' benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from src.data.examples import Example
from src.evaluation.benchmarks.code import CodeBenchmark
from src.evaluation.benchmarks.summary import SummaryBenchmark
from src.evaluation.contamination.files import document
from src.evaluation.contamination.overlap import Document, OverlapFilter
from src.stages.benchmarks import task_benchmarks
from src.stages.build import build
from src.stages.job import Job, compose_job
from src.utils.files import sha256_json
from src.utils.progress import track

GROUPS = ("model", "debug", "tasks", "hydra.searchpath")  # overrides that determine the benchmarks


class Decontamination:
    """Drop rows that overlap too much with any item, in any split, of the tasks' benchmarks.

    Benchmarks of rows that the training data themselves hold out are left aside.

    Args:
        job: The training job; the benchmarks are those of its tasks for its `model.data`.

    Raises:
        UserError: A benchmark's files are missing.
    """

    def __init__(self, job: Job) -> None:
        self._items = _benchmark_items(job)
        self._overlap: OverlapFilter | None = None
        self.key = sha256_json([[item.id, item.texts] for item in self._items])

    def prepare(self) -> None:
        """Index the items. This takes half a minute for CodeXGLUE, so it is skipped if the tokens are cached."""
        if self._overlap is None:
            self._overlap = OverlapFilter(track(self._items, "indexing benchmark items"))

    def __call__(self, rows: Sequence[Example]) -> list[Example]:
        """Return the rows to keep."""
        assert self._overlap is not None, "not prepared"
        return [
            row
            for number, row in enumerate(rows)
            if not self._overlap.is_dirty(
                document({"id": row.id, "prompt": row.prompt, "answer": row.answer}, number, row.task)
            )
        ]

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the index for other processes without the items, which are many times as large."""
        return {"key": self.key, "_overlap": self._overlap}


def benchmark_job(job: Job) -> Job:
    """The evaluation whose benchmarks are those of a training job's tasks."""
    overrides = [override for override in job.overrides if override.lstrip("+~").startswith(GROUPS)]
    return compose_job("evaluate", overrides)


def _benchmark_items(job: Job) -> list[Document]:
    items = []
    for name, node in task_benchmarks(benchmark_job(job)).items():
        benchmark: CodeBenchmark | SummaryBenchmark = build(node)
        for split in () if benchmark.of_training_data else benchmark.splits:
            items += [document(row, 0, f"{name}/{item}") for item, row in benchmark.items(split).items()]
    return items
