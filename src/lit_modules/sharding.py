"""Shard a network over ranks (FSDP2); each rank reads only its own part of a checkpoint.

Every parameter becomes a DTensor whose first dimension is divided.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Replicate
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset
from transformers import PreTrainedModel

from src.checkpoints import Checkpoint
from src.models import decoder_layers
from src.models.adapters import base_name, initial_values


def shard_network(
    network: PreTrainedModel,
    mesh: Any,
    half: bool,
    weights: Checkpoint | None = None,
    *,
    seed: int = 0,
    copies: int = 1,
) -> None:
    """Shard a network over the ranks of a mesh.

    A unit is gathered and freed together: the embedding, each decoder layer, the norm with the output head. While one
    computes, the next one is gathered. Where embedding and head share their weights, they and the norm stay gathered
    during a step.

    Args:
        network: Whole on every rank, or on the meta device.
        mesh: One-dimensional device mesh.
        half: Multiply in bfloat16; master weights and gradient sums stay float32.
        weights: Checkpoint that fills a network on the meta device.
        seed: Of the initial values of adapters on the meta device.
        copies: Number of equal groups of ranks; each holds all weights, and only gradients are exchanged between them.
    """
    if copies > 1:
        mesh = init_device_mesh(
            mesh.device_type, (copies, mesh.size() // copies), mesh_dim_names=("replicate", "shard")
        )
    policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if half else MixedPrecisionPolicy()
    units = _units(network)
    for unit in units[:-1]:
        fully_shard(unit[0], mesh=mesh, mp_policy=policy)
    if len(units[-1]) > 1:  # the backward pass begins with the last unit: it is not freed before
        fully_shard(units[-1], mesh=mesh, mp_policy=policy, reshard_after_forward=False)
    elif units[-1]:
        fully_shard(units[-1][0], mesh=mesh, mp_policy=policy)
    fully_shard(network, mesh=mesh, mp_policy=policy)
    _prefetch([unit[0] for unit in units])
    if weights is not None:
        here = torch.device("cpu") if mesh.device_type == "cpu" else torch.device("cuda", torch.cuda.current_device())
        _materialize(network, here, weights, seed)


def reshard(network: nn.Module) -> None:
    """Free the units that stay gathered after a forward pass, where no backward pass follows."""
    for module in network.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def copies_of(parameter: torch.Tensor) -> int:
    """Number of ranks that hold the same part of a parameter."""
    if not isinstance(parameter, DTensor):
        return 1
    mesh, placements = parameter.device_mesh, parameter.placements
    return math.prod(mesh.size(i) for i, place in enumerate(placements) if isinstance(place, Replicate))


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


def stored_part(weights: Checkpoint, name: str, like: torch.Tensor) -> torch.Tensor:
    """Read the part of a stored weight that this rank holds of the parameter `like`, and nothing else."""
    rows = _place(like)[0] if isinstance(like, DTensor) else slice(0, like.shape[0])
    width = math.prod(like.shape[1:])
    return weights.flat(name, rows.start * width, rows.stop * width).reshape(-1, *like.shape[1:])


def _units(network: PreTrainedModel) -> list[list[nn.Module]]:
    """Modules of each unit, in the order of the forward pass."""
    layers = list(decoder_layers(network))
    embedding, head = network.get_input_embeddings(), network.get_output_embeddings()
    assert embedding is not None
    assert head is not None
    if embedding.weight is head.weight:
        return [[layer] for layer in layers]
    others = [
        module
        for module in network.base_model.children()
        if module is not embedding and not isinstance(module, nn.ModuleList) and any(True for _ in module.parameters())
    ]
    return [[embedding], *([layer] for layer in layers), [*others, head]]


def _prefetch(units: list[nn.Module]) -> None:
    for one, following in pairwise(units):
        assert isinstance(one, FSDPModule)
        assert isinstance(following, FSDPModule)
        one.set_modules_to_forward_prefetch([following])
        following.set_modules_to_backward_prefetch([one])


@torch.no_grad()
def _materialize(network: PreTrainedModel, device: torch.device, weights: Checkpoint, seed: int) -> None:
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    network.to_empty(device=device)
    for name, buffer in network.named_buffers():
        buffer.copy_(buffers[name])
    for name, parameter in network.named_parameters():
        assert isinstance(parameter, DTensor)
        drawn = initial_values(name, parameter.shape, seed)
        part = stored_part(weights, base_name(name), parameter) if drawn is None else local_shard(drawn, parameter)
        parameter.to_local().copy_(part)


def _place(parameter: DTensor) -> tuple[slice, ...]:
    """Slices of the whole parameter that this rank holds."""
    shape, offset = compute_local_shape_and_global_offset(parameter.shape, parameter.device_mesh, parameter.placements)
    return tuple(slice(start, start + size) for start, size in zip(offset, shape, strict=True))
