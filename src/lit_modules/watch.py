"""What is measured beside the loss while a run trains, as one row a measurement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import lightning as L
import numpy as np

from src.data.batches import Layout, validation_batches
from src.data.table import TokenTable
from src.lit_modules.callbacks.gradient_cosine import GradientCosine
from src.lit_modules.callbacks.weight_delta import WeightDelta, Weights
from src.lit_modules.options import WatchOptions

Write = Callable[[L.Trainer, dict[str, Any]], None]


@dataclass(frozen=True)
class Watched:
    """The measurements of a run.

    Args:
        options: Which, and how often.
        base: The weights that training starts from; needed for `weight_delta`.
        specialists: Weights by name, whose updates the run's own is compared with.
    """

    options: WatchOptions = WatchOptions()  # noqa: RUF009 - frozen
    base: Weights | None = None
    specialists: Mapping[str, Weights] = field(default_factory=dict)

    def callbacks(
        self, tables: Mapping[str, TokenTable], layout: Layout, pad_token: int, write: Write
    ) -> list[L.Callback]:
        """The callbacks that measure.

        Args:
            tables: Rows by task; gradients are taken on the first of each.
            layout: Division of rows over ranks and micro-batches.
            pad_token: Id written where a line is over.
            write: Takes the rows.
        """
        found: list[L.Callback] = []
        if self.options.gradient_cosine is not None and len(tables) > 1:
            first = {
                task: table.subset(np.arange(min(len(table), self.options.gradient_rows)))
                for task, table in tables.items()
            }
            batches = {
                task: validation_batches(table, layout, pad_token, number)
                for number, (task, table) in enumerate(first.items())
            }
            found.append(GradientCosine(batches, self.options.gradient_cosine, write))
        if self.options.weight_delta is not None:
            assert self.base is not None
            found.append(WeightDelta(self.base, self.options.weight_delta, write, self.specialists))
        return found
