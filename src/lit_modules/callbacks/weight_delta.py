"""How far the weights have moved from the base, layer by layer, while training runs.

Every parameter is reduced to a few sums over the shard that this rank holds, and the sums are added over ranks, so
the model is never gathered. Of a network with adapters, the weights that have one are measured: the others are frozen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import lightning as L
import torch
from torch.distributed.tensor import DTensor, Shard

from src.checkpoints.layers import locate
from src.lit_modules.sharding import local_shard
from src.models.adapters import NAME, adapter_updates

Row = dict[str, Any]
SUMS = 6  # of d^2, base^2, d, s, s^2, d*s for an update d and a specialist's update s; their count goes with them


class Weights(Protocol):
    """Named tensors of a checkpoint, read one at a time (`src.checkpoints.Checkpoint` is one)."""

    def tensor(self, name: str) -> torch.Tensor:
        """The whole tensor of a name."""
        ...


class WeightDelta(L.Callback):
    """Layer-wise L2 of the update, and its likeness to given specialists' updates, every N steps.

    Args:
        base: The weights that training started from.
        every_steps: Steps between measurements.
        write: Called with one row: `l2/<layer>`, `relative_l2/<layer>`, and `pearson_<name>/<layer>`,
            `cosine_<name>/<layer>` for each specialist (NaN where either update is zero).
        specialists: Their weights by name.
    """

    def __init__(
        self,
        base: Weights,
        every_steps: int,
        write: Callable[[L.Trainer, Row], None],
        specialists: Mapping[str, Weights] | None = None,
    ) -> None:
        self.base, self.every_steps, self.write = base, every_steps, write
        self.specialists = dict(specialists or {})

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measures where it is due."""
        if trainer.global_step % self.every_steps != 0:
            return
        strategy = trainer.strategy

        def add_ranks(sums: torch.Tensor) -> torch.Tensor:
            return strategy.reduce(sums.to(strategy.root_device), reduce_op="sum").cpu()

        rows = self.measure(pl_module.network, add_ranks)  # type: ignore[arg-type]
        flat = {f"{name}/{row['layer']}": row[name] for row in rows for name in row if name != "layer"}
        self.write(trainer, {"split": "weights", **flat})

    @torch.no_grad()
    def measure(
        self, network: torch.nn.Module, add_ranks: Callable[[torch.Tensor], torch.Tensor] = lambda sums: sums
    ) -> list[Row]:
        """One row a layer, in the order of the network.

        Args:
            network: Its parameters may be whole or sharded (DTensor).
            add_ranks: Sums a tensor over ranks.
        """
        sums: dict[str, torch.Tensor] = {}
        for name, like, update in self._updates(network):
            base = local_shard(self.base.tensor(name), like).double()
            others = [local_shard(weights.tensor(name), like) for weights in self.specialists.values()] or [base]
            table = sums.setdefault(locate(name).layer, torch.zeros(len(others), SUMS + 1, dtype=torch.float64))
            table += torch.stack([_sums(update, base, other.double() - base) for other in others])
        total = add_ranks(torch.stack(list(sums.values())))
        return [
            {"layer": layer, **_distances(table[0]), **self._likeness(table)}
            for layer, table in zip(sums, total, strict=True)
        ]

    def _updates(self, network: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
        """Name of each weight, a tensor that is divided as it is, and this rank's part of its update."""
        whole = all(parameter.requires_grad for parameter in network.parameters())
        updates = [] if whole else list(adapter_updates(network))
        for name, given in updates:
            update = given(NAME)
            if isinstance(update, DTensor):
                update = update.redistribute(placements=[Shard(0)])
            yield name, update, local_shard(update, update).double()
        for name, parameter in [] if updates else network.named_parameters():
            base = local_shard(self.base.tensor(name), parameter)
            yield name, parameter, local_shard(parameter, parameter).double() - base.double()

    def _likeness(self, table: torch.Tensor) -> Row:
        row = {}
        for sums, name in zip(table, self.specialists, strict=False):
            dd, _, d, s, ss, ds, n = sums.tolist()
            row[f"cosine_{name}"] = _ratio(ds, dd * ss)
            row[f"pearson_{name}"] = _ratio(ds - d * s / n, (dd - d * d / n) * (ss - s * s / n))
        return row


def _sums(d: torch.Tensor, base: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    products = (d * d, base * base, d, s, s * s, d * s)
    return torch.stack([*(product.sum() for product in products), torch.tensor(d.numel(), dtype=torch.float64)])


def _distances(sums: torch.Tensor) -> Row:
    dd, bb = sums[0].item(), sums[1].item()
    return {"l2": math.sqrt(dd), "relative_l2": _ratio(math.sqrt(dd), bb)}


def _ratio(numerator: float, squared_denominator: float) -> float:
    return numerator / math.sqrt(squared_denominator) if squared_denominator > 0 else math.nan
