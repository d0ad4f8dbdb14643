"""All tensors of base and specialists, one after another, for quantities of the whole model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch

from src.merging.tensors.parent import Parent
from src.merging.tensors.parent_tensors import Ops, ParentTensors
from src.merging.tensors.reading import Held, open_tensor
from src.utils.progress import track

T = TypeVar("T")


class ParentModel:
    """The parents as one vector, read tensor by tensor; only what `once` caches is held.

    Args:
        names: The tensors in it, sorted; those without elements are left out.
        base: Model that the specialists were fine-tuned from.
        specialists: K parents by name.
        ops: Arithmetic on blocks.
        pool: Threads.
        device: Device of the arithmetic.
    """

    def __init__(
        self,
        names: Sequence[str],
        base: Parent,
        specialists: Mapping[str, Parent],
        ops: Ops,
        pool: ThreadPoolExecutor,
        device: torch.device,
    ) -> None:
        self.names = tuple(name for name in names if base.table[name].numel > 0)
        self.labels = tuple(specialists)
        self.numel = sum(base.table[name].numel for name in names)
        self.ops = ops
        self._parents = base, specialists
        self._pool = pool
        self._device = device
        self._memo: dict[Any, Any] = {}

    def map_tensors(
        self, work: Callable[[ParentTensors], T], description: str, names: Sequence[str] | None = None
    ) -> list[T]:
        """Apply `work` to every tensor (or those in `names`), which is valid only during the call; results in order."""
        held, found = Held(), []
        base, specialists = self._parents
        for name in track(self.names if names is None else names, description):
            tensors = open_tensor(name, base, specialists, self.ops, self._pool, self._device, held)
            found.append(work(tensors))
            tensors.release()
        return found

    def once(self, key: Any, make: Callable[[], T]) -> T:
        """Value cached under `key`, computed on the first call, so that the points of a grid share it."""
        if key not in self._memo:
            self._memo[key] = make()
        value: T = self._memo[key]
        return value
