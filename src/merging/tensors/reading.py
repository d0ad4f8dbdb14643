"""Read the parents: small tensors once into memory, large ones block by block."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch

from src.checkpoints import TensorInfo
from src.merging.tensors.blocks import Memory, Read
from src.merging.tensors.lora_factors import factors_of
from src.merging.tensors.parent import Parent
from src.merging.tensors.parent_tensors import INLINE, Ops, ParentTensors
from src.utils.errors import UserError

HELD_BYTES = 1 << 27  # for all parents together; a larger tensor is reread from the page cache in each pass


class Held:
    """Memory that is reused for one tensor after another: fresh pages would cost more than reading."""

    def __init__(self) -> None:
        self._arrays: dict[str, torch.Tensor] = {}

    def take(self, label: str, info: TensorInfo) -> torch.Tensor:
        """Memory for a tensor of parent `label`, one-dimensional; the previous tensor is overwritten."""
        if label not in self._arrays or self._arrays[label].numel() < info.nbytes:
            self._arrays[label] = torch.empty(info.nbytes, dtype=torch.uint8)
        return self._arrays[label][: info.nbytes].view(info.dtype)


def open_tensor(
    name: str,
    base: Parent,
    specialists: Mapping[str, Parent],
    ops: Ops,
    pool: ThreadPoolExecutor,
    device: torch.device,
    held: Held,
) -> ParentTensors:
    """Open one tensor of all parents; it is valid until the next one is opened in the same `held`.

    Raises:
        UserError: A parent contains NaN or Inf.
    """
    parents = {"base": base, **specialists}
    info = base.table[name]
    hold = sum(parent.table[name].nbytes for parent in parents.values()) <= HELD_BYTES or device.type != "cpu"

    def read(label: str) -> Read:
        parent = parents[label]
        return _held(parent, name, device, held, label) if hold or name in parent.computed else _unheld(parent, name)

    reads = list((map if info.numel <= INLINE else pool.map)(read, parents))
    factors = [partial(factors_of, parent, name) for parent in specialists.values()]
    tensors = ParentTensors(name, info.shape, list(specialists), reads, ops, pool, device, factors)
    if info.dtype.is_floating_point and not all(norm < float("inf") for norm in tensors.norms()):
        raise _not_finite(name, parents)
    return tensors


def _held(parent: Parent, name: str, device: torch.device, held: Held, label: str) -> Read:
    if name in parent.computed:
        stored = parent.flat(name, 0, parent.table[name].numel)
    else:
        stored = held.take(label, parent.table[name])
        parent.read_into(name, 0, stored)
    values = stored.to(device)
    return lambda start, stop, memory: values[start:stop]


def _unheld(parent: Parent, name: str) -> Read:
    dtype = parent.table[name].dtype

    def read(start: int, stop: int, memory: Memory) -> torch.Tensor:
        out = memory(stop - start, dtype)
        parent.read_into(name, start, out)
        return out

    return read


def _not_finite(name: str, parents: Mapping[str, Parent]) -> UserError:
    for label, parent in parents.items():
        bad = int((~torch.isfinite(parent.tensor(name))).sum())
        if bad:
            return UserError(f"{parent.path} ({label}) has {bad} NaN or Inf values in {name}; export it again")
    return UserError(f"{name}: the task vectors overflow float32; {', '.join(parents)} do not share a base")
