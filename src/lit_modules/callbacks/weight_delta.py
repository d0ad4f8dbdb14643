"""The distance of the weights from the base, layer by layer, during training (conf/callbacks/weight_delta.yaml).

Every parameter is reduced to a few sums over the shard that this rank holds, and the sums are added over ranks, so
the model is never gathered. In a network with adapters, only the adapted weights are measured: the others are frozen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.distributed.tensor import DTensor, Shard

from src.checkpoints import Checkpoint
from src.checkpoints.layers import locate
from src.lit_modules.loggers import log_values
from src.lit_modules.options import require_positive
from src.lit_modules.sft import SupervisedFineTuning
from src.lit_modules.sharding import local_shard
from src.models.adapters import NAME, adapter_updates
from src.utils.errors import UserError

Row = dict[str, Any]
KEY = "callbacks.weight_delta"
SUMS = 6  # of d^2, base^2, d, s, s^2, d*s for an update d and a specialist's update s; their count goes with them


class WeightDelta(L.Callback):
    """Log the L2 norm of each layer's update, and its similarity to the updates of given specialists, every N steps.

    The names are `weights/l2/<layer>`, `weights/relative_l2/<layer>`, and for each specialist
    `weights/pearson_<task>/<layer>` and `weights/cosine_<task>/<layer>` (NaN where either update is zero).

    Args:
        every_steps: Steps between measurements.
        specialists: Checkpoint directories by task; None: no comparison.

    Raises:
        UserError: `every_steps` is below 1, or a directory holds no checkpoint.
    """

    def __init__(self, every_steps: int, specialists: Mapping[str, str] | None = None) -> None:
        require_positive(every_steps, f"{KEY}.every_steps")
        self.every_steps = every_steps
        self.specialists = {task: _opened(task, place) for task, place in (specialists or {}).items()}

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure if it is due."""
        if trainer.global_step % self.every_steps != 0:
            return
        strategy = trainer.strategy

        def add_ranks(sums: torch.Tensor) -> torch.Tensor:
            return strategy.reduce(sums.to(strategy.root_device), reduce_op="sum").cpu()

        assert isinstance(pl_module, SupervisedFineTuning)
        assert pl_module.base is not None, "the run does not say which checkpoint it starts from"
        rows = self.measure(pl_module.network, pl_module.base, add_ranks)
        log_values(
            trainer,
            {f"weights/{name}/{row['layer']}": row[name] for row in rows for name in row if name != "layer"},
        )

    @torch.no_grad()
    def measure(
        self,
        network: torch.nn.Module,
        base: Checkpoint,
        add_ranks: Callable[[torch.Tensor], torch.Tensor] = lambda sums: sums,
    ) -> list[Row]:
        """One row per layer, in the order of the network.

        Args:
            network: Its parameters may be whole or sharded (DTensor).
            base: The weights that training started from.
            add_ranks: Sums a tensor over ranks.
        """
        sums: dict[str, torch.Tensor] = {}
        for name, like, update in _updates(network, base):
            start = local_shard(base.tensor(name), like).double()
            others = [local_shard(weights.tensor(name), like) for weights in self.specialists.values()] or [start]
            table = sums.setdefault(locate(name).layer, torch.zeros(len(others), SUMS + 1, dtype=torch.float64))
            table += torch.stack([_sums(update, start, other.double() - start) for other in others])
        total = add_ranks(torch.stack(list(sums.values())))
        return [
            {"layer": layer, **_distances(table[0]), **self._likeness(table)}
            for layer, table in zip(sums, total, strict=True)
        ]

    def _likeness(self, table: torch.Tensor) -> Row:
        row = {}
        for sums, name in zip(table, self.specialists, strict=False):
            dd, _, d, s, ss, ds, n = sums.tolist()
            row[f"cosine_{name}"] = _ratio(ds, dd * ss)
            row[f"pearson_{name}"] = _ratio(ds - d * s / n, (dd - d * d / n) * (ss - s * s / n))
        return row


def _opened(task: str, place: str) -> Checkpoint:
    try:
        return Checkpoint(Path(place))
    except UserError as error:
        raise UserError(f"{KEY}.specialists.{task}={place}: {error}") from None


def _updates(network: torch.nn.Module, base: Checkpoint) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    """Name of each weight, a tensor with the same sharding, and this rank's part of the weight's update."""
    whole = all(parameter.requires_grad for parameter in network.parameters())
    updates = [] if whole else list(adapter_updates(network))
    for name, given in updates:
        update = given(NAME)
        if isinstance(update, DTensor):
            update = update.redistribute(placements=[Shard(0)])
        yield name, update, local_shard(update, update).double()
    for name, parameter in [] if updates else network.named_parameters():
        start = local_shard(base.tensor(name), parameter)
        yield name, parameter, local_shard(parameter, parameter).double() - start.double()


def _sums(d: torch.Tensor, base: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    products = (d * d, base * base, d, s, s * s, d * s)
    return torch.stack([*(product.sum() for product in products), torch.tensor(d.numel(), dtype=torch.float64)])


def _distances(sums: torch.Tensor) -> Row:
    dd, bb = sums[0].item(), sums[1].item()
    return {"l2": math.sqrt(dd), "relative_l2": _ratio(math.sqrt(dd), bb)}


def _ratio(numerator: float, squared_denominator: float) -> float:
    return numerator / math.sqrt(squared_denominator) if squared_denominator > 0 else math.nan
