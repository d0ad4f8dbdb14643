"""A merge without weights on disk: 36 grid points of a 7B model would take 540 GB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from src.merging.engine.grid import MergeRequest, merge_grid
from src.merging.engine.outputs import Sink
from src.merging.recipe import Recipe
from src.merging.tensors.parent import Parent, open_parents
from src.utils.errors import UserError


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
        [error] = merge_together([self], [sink], device)
        if error is not None:
            raise error


def merge_together(points: Sequence[LazyMerge], sinks: Sequence[Sink], device: str = "cpu") -> list[UserError | None]:
    """Merge points of the same parents in one pass.

    Args:
        points: They differ in their recipes.
        sinks: One per point.
        device: See `LazyMerge.merge_into`.

    Returns:
        Per point None, or the reason why it cannot be merged.

    Raises:
        UserError: The parents do not match.
    """
    first = points[0]
    base, specialists = first.opened or open_parents(first.base, first.specialists, first.allow_pickle)
    requests = [MergeRequest(point.recipe, sink) for point, sink in zip(points, sinks, strict=True)]
    return [result.error for result in merge_grid(base, specialists, requests, device=device)]
