"""Lightning's FSDP2 strategy, extended to resume from the checkpoint file of a single process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed.tensor import DTensor

from src.lit_modules.sharding import local_shard


class ShardedStrategy(ModelParallelStrategy):
    """Shard the network over all ranks; each saves its shards, which any number of ranks can load.

    Args:
        ranks: Number of processes.
        backend: Their communication: "nccl" or "gloo".
    """

    def __init__(self, ranks: int, backend: str) -> None:
        super().__init__(ranks, 1, process_group_backend=backend)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Load a directory of shards, or this rank's part of a single process's file."""
        path = Path(self.broadcast(checkpoint_path))
        if path.is_dir():
            return super().load_checkpoint(path, weights_only)
        state: dict[str, Any] = torch.load(path, mmap=True, map_location="cpu", weights_only=weights_only)
        weights = state.pop("state_dict")
        assert self.model is not None
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                if name in weights or parameter.requires_grad:  # frozen weights are not in the file
                    parameter.copy_(_sharded(weights[name], parameter))
        for optimizer, saved in zip(self.optimizers, state.pop("optimizer_states"), strict=True):
            _load_optimizer(optimizer, saved)
        return state


def _load_optimizer(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, values in saved["state"].items():
        parameter = parameters[number]
        for name, value in values.items():
            if value.shape == parameter.shape:  # moments; the step count is a scalar
                values[name] = _sharded(value, parameter)
    optimizer.load_state_dict(saved)


def _sharded(whole: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Shard a whole tensor like a parameter."""
    if not isinstance(like, DTensor):
        return whole
    part = local_shard(whole, like).to(like.device_mesh.device_type)
    return DTensor.from_local(
        part, like.device_mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride()
    )
