"""A merge without weights on disk: 36 grid points of a 7B model would take 540 GB."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from src.merging.engine.grid import MergeRequest, merge_grid
from src.merging.engine.outputs import Sink
from src.merging.recipe import Recipe
from src.merging.tensors.parent import Parent, open_parents


@dataclass(frozen=True)
class LazyMerge:
    """Parents and recipe, merged again whenever a model needs the weights.

    Args:
        directory: Tokenizer, chat template and (but for an adapter) config of the merge.
        base: Checkpoint directory of the base.
        specialists: Checkpoint or adapter directories by name, in the order of the coefficients.
        recipe: The point.
        fingerprint: Identifies the weights; changes with parents and recipe.
        allow_pickle: See `Checkpoint`.
        opened: The parents, if they are open already: many points of the same parents need not open them again.
    """

    directory: Path
    base: Path
    specialists: Mapping[str, Path]
    recipe: Recipe
    fingerprint: str
    allow_pickle: bool = False
    opened: tuple[Parent, Mapping[str, Parent]] | None = None

    @property
    def network(self) -> Path:
        """Directory of the `config.json`; an adapter's is the base's."""
        return self.directory if (self.directory / "config.json").is_file() else self.base

    def merge_into(self, sink: Sink, device: str = "cpu") -> None:
        """Merge into `sink` tensor by tensor.

        Args:
            sink: A model in memory, a directory, a function.
            device: Device of the arithmetic; the result does not depend on it.

        Raises:
            UserError: The parents do not match, or the sink cannot take the tensors.
        """
        base, specialists = self.opened or open_parents(self.base, self.specialists, self.allow_pickle)
        [result] = merge_grid(base, specialists, [MergeRequest(self.recipe, sink)], device=device)
        if result.error is not None:
            raise result.error
