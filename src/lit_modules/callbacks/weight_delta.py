"""The distance of the weights from the base, layer by layer, during training (conf/callbacks/weight_delta.yaml).

Every parameter is reduced to a few sums over the shard that this rank holds, on its device, and the sums are added over
ranks, so the model is never gathered. Of the other checkpoints each rank reads only the same shard. In a network with
adapters, only the adapted weights are measured: the others are frozen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.distributed.tensor import DTensor, Replicate, Shard

from src.checkpoints import Checkpoint
from src.checkpoints.layers import locate
from src.lit_modules.loggers import log_values
from src.lit_modules.options import require_positive
from src.lit_modules.sft import SupervisedFineTuning
from src.lit_modules.sharding import copies_of, local, stored_part
from src.models.adapters import NAME, adapter_updates
from src.utils.errors import UserError

Row = dict[str, Any]
KEY = "callbacks.weight_delta"
BLOCK = 2**24  # elements at once in float64
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
        others = list(self.specialists.values()) or [base]
        for name, like, now, is_update in _weights(network):
            table = sums.setdefault(
                locate(name).layer, torch.zeros(len(others), SUMS + 1, dtype=torch.float64, device=now.device)
            )
            start, *ends = (stored_part(weights, name, like).flatten() for weights in (base, *others))
            for place in range(0, max(1, now.numel()), BLOCK):
                here = slice(place, place + BLOCK)
                base_block = start[here].to(now.device).double()
                update = now[here].double() - (0 if is_update else base_block)
                rows = [_sums(update, base_block, end[here].to(now.device).double() - base_block) for end in ends]
                table += torch.stack(rows) / copies_of(like)
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


def _weights(network: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor, torch.Tensor, bool]]:
    """Name of each weight, a tensor with the same sharding, and this rank's part of it: its update or its value."""
    whole = all(parameter.requires_grad for parameter in network.parameters())
    updates = [] if whole else list(adapter_updates(network))
    for name, given in updates:
        update = given(NAME)
        if isinstance(update, DTensor):
            update = update.redistribute(placements=[*[Replicate()] * (update.device_mesh.ndim - 1), Shard(0)])
        yield name, update, local(update).flatten(), True
    for name, parameter in [] if updates else network.named_parameters():
        yield name, parameter, local(parameter.detach()).flatten(), False


def _sums(d: torch.Tensor, base: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    products = (d * d, base * base, d, s, s * s, d * s)
    return torch.stack([*(product.sum() for product in products), d.new_tensor(d.numel())])


def _distances(sums: torch.Tensor) -> Row:
    dd, bb = sums[0].item(), sums[1].item()
    return {"l2": math.sqrt(dd), "relative_l2": _ratio(math.sqrt(dd), bb)}


def _ratio(numerator: float, squared_denominator: float) -> float:
    return numerator / math.sqrt(squared_denominator) if squared_denominator > 0 else math.nan
