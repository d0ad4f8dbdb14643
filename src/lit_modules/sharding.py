"""Shard a network over ranks (FSDP2); each rank reads only its own part of a checkpoint.

Every parameter becomes a DTensor whose first dimension is divided.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset
from transformers import PreTrainedModel

from src.checkpoints import Checkpoint
from src.models import decoder_layers


def shard_network(network: PreTrainedModel, mesh: Any, half: bool, weights: Checkpoint | None = None) -> None:
    """Shard a network over the ranks of a mesh: each decoder layer is a unit, and all other modules form one more.

    Args:
        network: Whole on every rank, or on the meta device.
        mesh: One-dimensional device mesh.
        half: Multiply in bfloat16; master weights and gradient sums stay float32.
        weights: Checkpoint that fills a network on the meta device.
    """
    policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if half else MixedPrecisionPolicy()
    for layer in decoder_layers(network):
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(network, mesh=mesh, mp_policy=policy)
    if weights is not None:
        here = torch.device("cpu") if mesh.device_type == "cpu" else torch.device("cuda", torch.cuda.current_device())
        _materialize(network, here, weights)


def local(tensor: torch.Tensor) -> torch.Tensor:
    """This rank's part of a tensor, on its device."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def local_shard(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """This rank's part of a whole or sharded tensor, divided like the parameter `like`, on the CPU."""
    if isinstance(tensor, DTensor):
        return local(tensor).cpu()
    if not isinstance(like, DTensor):
        return tensor.detach().cpu()
    return tensor[_place(like)].cpu()


@torch.no_grad()
def _materialize(network: PreTrainedModel, device: torch.device, weights: Checkpoint) -> None:
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    network.to_empty(device=device)
    for name, buffer in network.named_buffers():
        buffer.copy_(buffers[name])
    for name, parameter in network.named_parameters():
        assert isinstance(parameter, DTensor)
        rows = _place(parameter)[0]
        width = math.prod(parameter.shape[1:])
        part = weights.flat(name, rows.start * width, rows.stop * width)
        parameter.to_local().copy_(part.reshape(-1, *parameter.shape[1:]))


def _place(parameter: DTensor) -> tuple[slice, ...]:
    """Slices of the whole parameter that this rank holds."""
    shape, offset = compute_local_shape_and_global_offset(parameter.shape, parameter.device_mesh, parameter.placements)
    return tuple(slice(start, start + size) for start, size in zip(offset, shape, strict=True))
