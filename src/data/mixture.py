"""Order and frequency of the rows of one or more tasks.

The order depends only on (seed, epoch) and the number of rows: resuming needs no state, and any number of ranks sees
the same order.

K tasks, N_k rows of a task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from src.data.table import Part, TokenTable
from src.utils.errors import UserError
from src.utils.seeding import derive_seed
from src.utils.validation import checked_dataclass

Rows = NDArray[np.int64]
Positive = Annotated[float, Field(gt=0)]


@checked_dataclass("mix")
class MixOptions:
    """Proportions of the tasks in a mixture: the node `mix` of conf/train.yaml.

    By default the tasks are concatenated, each row once per epoch, as in the study. With `ratio`, `ratios` or
    `temperature`, an epoch keeps its size, and each task fills its share of it.

    Args:
        ratio: Share of the first task, 0-1; the others share the rest. The counterpart of `merge.weight`.
        ratios: Share of every task by name, in any unit; the counterpart of `merge.weights`.
        by: Unit of a share: "examples" or "tokens".
        temperature: Shares proportional to size^(1/temperature): 1 is natural, infinity is equal.
        cap: Maximum number of repetitions of a row per epoch; if a share needs more, the epoch is shortened.
    """

    ratio: Annotated[float, Field(gt=0, lt=1)] | None = None
    ratios: Mapping[str, Positive] | None = None
    by: Literal["examples", "tokens"] = "examples"
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=True)] = 1.0
    cap: Positive | None = None

    def __post_init__(self) -> None:
        if sum((self.ratio is not None, self.ratios is not None, self.temperature != 1.0)) > 1:
            raise UserError("expected at most one of mix.ratio, mix.ratios and mix.temperature")


def rows_per_epoch(tables: Mapping[str, TokenTable], options: MixOptions) -> list[int]:
    """Number of rows of each task in an epoch.

    Args:
        tables: Rows by task.
        options: Their shares.

    Returns:
        One number per task, in their order.

    Raises:
        UserError: `mix.ratios` does not name exactly the tasks, or `mix.cap` meets sources with weights.
    """
    sizes = np.array([table.epoch_rows for table in tables.values()], dtype=np.float64)
    if options.cap is not None and any(table.parts for table in tables.values()):
        raise UserError(f"mix.cap={options.cap} limits repetitions, which weights of sources set; leave one out")
    natural = options.ratio is None and options.ratios is None and options.temperature == 1.0
    if natural or len(tables) == 1:
        return [table.epoch_rows for table in tables.values()]
    unit = np.ones(len(tables))  # a row counts as one example, or as its mean number of tokens
    if options.by == "tokens":
        unit = np.array([table.mean_length for table in tables.values()])
    shares = _shares(list(tables), sizes * unit, options)
    counts = shares * (sizes * unit).sum() / unit
    if options.cap is not None:
        counts *= min(1.0, float((options.cap * sizes / counts).min()))
    return [max(1, round(count)) for count in counts.tolist()]


def _shares(tasks: Sequence[str], sizes: NDArray[np.float64], options: MixOptions) -> NDArray[np.float64]:
    if options.ratios is not None:
        if set(options.ratios) != set(tasks):
            raise UserError(f"mix.ratios names {', '.join(options.ratios)}; expected {', '.join(tasks)}")
        shares = np.array([options.ratios[task] for task in tasks])
    elif options.ratio is not None:
        shares = np.array([options.ratio, *[(1 - options.ratio) / (len(tasks) - 1)] * (len(tasks) - 1)])
    else:
        shares = sizes ** (1 / options.temperature)
    scaled: NDArray[np.float64] = shares / shares.sum()
    return scaled


class Mixture:
    """Rows of all tasks in the order of training.

    An epoch holds as many whole copies of a task's rows as its count allows. The remainder is taken from a shuffled
    sequence that continues from epoch to epoch, so that in the long run all rows of a task are seen equally often.

    Args:
        tables: Rows by task name; row numbers follow their order.
        seed: Seed of the shuffle.
        counts: Rows of each task in an epoch; None: all, each once, or by the weights of their sources.
    """

    def __init__(self, tables: Mapping[str, TokenTable], seed: int, counts: Sequence[int] | None = None) -> None:
        self.tasks = tuple(tables)
        self.tables = tuple(tables.values())
        self.seed = seed
        self.counts = tuple(counts) if counts is not None else tuple(table.epoch_rows for table in self.tables)
        self._offsets = np.cumsum([0, *(len(table) for table in self.tables)])
        self._lengths = np.concatenate([table.lengths for table in self.tables])
        self._epoch: tuple[int, Rows] | None = None

    def __len__(self) -> int:
        return sum(self.counts)

    def locate(self, row: int) -> tuple[int, int]:
        """Position of a row's task, and the row's index in that task's table."""
        task = int(np.searchsorted(self._offsets, row, side="right")) - 1
        return task, row - int(self._offsets[task])

    def epoch(self, number: int) -> Rows:
        """Row numbers in the order of an epoch, int64 (len)."""
        if self._epoch is None or self._epoch[0] != number:
            rows = np.concatenate([self._chosen(task, number) for task in range(len(self.tasks))])
            self._epoch = number, rows[_permutation(len(rows), "order", self.seed, number)]
        return self._epoch[1]

    def stream(self, start: int, stop: int) -> Rows:
        """Rows `start` to `stop` of the endless sequence epoch 0, epoch 1, ..."""
        parts, size = [], len(self)
        while start < stop:
            epoch, first = divmod(start, size)
            parts.append(self.epoch(epoch)[first : first + stop - start])
            start += len(parts[-1])
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def stream_lengths(self, stop: int) -> NDArray[np.int64]:
        """Tokens of each of the first `stop` rows of the stream, int64."""
        lengths: NDArray[np.int64] = self._lengths[self.stream(0, stop)]
        return lengths

    def drawn(self, stop: int) -> dict[str, dict[str, int]]:
        """Rows and tokens per task among the first `stop` rows of the stream, repetitions included."""
        rows = self.stream(0, stop)
        task = np.searchsorted(self._offsets, rows, side="right") - 1
        counts = np.bincount(task, minlength=len(self.tasks))
        tokens = np.bincount(task, weights=self._lengths[rows], minlength=len(self.tasks))
        return {
            name: {"rows": int(count), "tokens": int(sum_)}
            for name, count, sum_ in zip(self.tasks, counts, tokens, strict=True)
        }

    def _chosen(self, task: int, epoch: int) -> Rows:
        """Rows of a task in an epoch, source by source."""
        first, chosen = int(self._offsets[task]), list[Rows]()
        parts = self.tables[task].sources
        for number, (part, count) in enumerate(zip(parts, _divided(self.counts[task], parts), strict=True)):
            words = (self.tasks[task], number) if len(parts) > 1 else (self.tasks[task],)
            chosen.append(first + self._repeated(part.rows, count, epoch, words))
            first += part.rows
        return np.concatenate(chosen)

    def _repeated(self, size: int, count: int, epoch: int, words: tuple[object, ...]) -> Rows:
        """`count` numbers below `size`: whole passes, and a remainder that continues from epoch to epoch."""
        copies, rest = divmod(count, size)
        parts = [np.arange(size)] * copies
        place = epoch * rest  # in the endless sequence of shuffled passes that remainders are drawn from
        while rest > 0:
            turn, begin = divmod(place, size)
            order = _permutation(size, "remainder", self.seed, *words, turn)
            parts.append(order[begin : begin + rest])
            rest -= len(parts[-1])
            place += len(parts[-1])
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _divided(count: int, parts: Sequence[Part]) -> list[int]:
    """Divide the rows of a task's epoch among its sources, in proportion to their own epochs."""
    ends = np.cumsum([part.epoch_rows for part in parts])
    return np.diff(np.round(count * ends / ends[-1]), prepend=0).astype(int).tolist()


def fraction_of(table: TokenTable, fraction: float, task: str, seed: int) -> TokenTable:
    """A random subset of a task's rows, in order; a smaller fraction is a subset of a larger one.

    Raises:
        UserError: `fraction` is not in (0, 1].
    """
    if not 0 < fraction <= 1:
        raise UserError(f"data.fraction must be above 0 and at most 1, got {fraction}")
    if fraction == 1:
        return table
    count = max(1, round(fraction * len(table)))
    return table.subset(np.sort(_permutation(len(table), "fraction", seed, task)[:count]))


def _permutation(size: int, *seed: object) -> Rows:
    return np.random.Generator(np.random.PCG64(derive_seed(*seed))).permutation(size)
