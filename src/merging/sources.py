"""Reading the parents: small tensors once into memory, large ones block by block."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import torch

from src.checkpoints import Checkpoint
from src.merging.ops import Ops
from src.merging.parents import Read, Stack
from src.utils.errors import UserError

HELD_BYTES = 1 << 27  # of all parents together; a larger tensor is read again, from the page cache, for each pass


def open_stack(
    name: str,
    base: Checkpoint,
    specialists: Mapping[str, Checkpoint],
    ops: Ops,
    pool: ThreadPoolExecutor,
    device: torch.device | str = "cpu",
) -> Stack:
    """One tensor of all parents, ready to be merged.

    Raises:
        UserError: A parent holds NaN or infinite values.
    """
    parents = {"base": base, **specialists}
    info = base.table[name]
    hold = sum(parent.table[name].nbytes for parent in parents.values()) <= HELD_BYTES or str(device) != "cpu"
    reads = [_reader(parent, name, hold, device) for parent in parents.values()]
    stack = Stack(name, info.shape, list(specialists), reads, ops, pool)
    if info.dtype.is_floating_point and not all(norm < float("inf") for norm in stack.norms()):
        raise _not_finite(name, parents)
    return stack


def _reader(parent: Checkpoint, name: str, hold: bool, device: torch.device | str) -> Read:
    if not hold:
        return lambda start, stop: parent.flat(name, start, stop)
    whole = parent.flat(name, 0, parent.table[name].numel).to(device)
    return lambda start, stop: whole[start:stop]


def _not_finite(name: str, parents: Mapping[str, Checkpoint]) -> UserError:
    for label, parent in parents.items():
        bad = int((~torch.isfinite(parent.tensor(name))).sum())
        if bad:
            return UserError(f"{parent.path} ({label}) holds {bad} NaN or infinite values in {name}; export it again")
    return UserError(f"{name}: the task vectors overflow float32; {', '.join(parents)} do not belong together")
