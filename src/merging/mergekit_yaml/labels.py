"""Names of specialists that a recipe names by path alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from src.merging.mergekit_yaml.read import Model
from src.runs.paths import checkpoint_label

RESERVED = "base"


def labels_of(models: Sequence[Model]) -> dict[str, Model]:
    """A short unique name for every model, in their order: the end of its path, and as much more as tells them apart.

    An adapter is named by its own path.

    Args:
        models: No two are equal.

    Example:
        >>> list(labels_of([Model("org/coder-7b"), Model("/a/run1/final"), Model("/a/run2/final")]))
        ['coder-7b', 'run1-final', 'run2-final']
    """
    paths = [model.lora or model.path for model in models]
    found = [checkpoint_label(path) for path in paths]
    for length in range(2, 2 + max((len(PurePath(path).parts) for path in paths), default=0)):
        open_ones = [index for index, name in enumerate(found) if name == RESERVED or found.count(name) > 1]
        if not open_ones:
            break
        for index in open_ones:
            found[index] = "-".join(part.strip("/") for part in PurePath(paths[index]).parts[-length:])
    numbered = [name if found.index(name) == index else f"{name}-{index}" for index, name in enumerate(found)]
    return dict(zip(numbered, models, strict=True))
