"""Config, tokenizer and chat template of a merge."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from src.checkpoints import copy_side_files
from src.merging.recipe import OUTPUT_DTYPES, Recipe
from src.merging.tensors.lora import is_adapter
from src.merging.tensors.matching import match_tensors
from src.merging.tensors.parent import open_parents
from src.merging.tensors.tokenizer_json import write_union
from src.merging.tensors.vocabulary import align_vocabulary
from src.utils.files import write_json

STALE = ("vocab.json", "merges.txt", "added_tokens.json", "tokenizer.model")  # lack the tokens of a union


def write_side_files(
    directory: Path, base: Path, specialists: Mapping[str, Path], recipe: Recipe, allow_pickle: bool = False
) -> None:
    """Write config, tokenizer and chat template next to merged weights.

    They are the first specialist's, because its chat template and end token are those of the fine-tuning. With
    `merge.tokenizer` base or union they are the base's, with the tokens of the union.

    Args:
        directory: Of the merge.
        base: Checkpoint directory of the base.
        specialists: Checkpoint or adapter directories.
        recipe: Of the merge.
        allow_pickle: See `Checkpoint`.
    """
    dtype = OUTPUT_DTYPES[recipe.dtype] if recipe.dtype else None
    first = next(iter(specialists.values()))
    if is_adapter(first) or recipe.tokenizer in ("base", "union"):
        copy_side_files(base, directory, dtype)
    if recipe.tokenizer in ("equal", "shared"):
        copy_side_files(first, directory, dtype)
    if recipe.tokenizer == "equal":
        return
    aligned = align_vocabulary(*match_tensors(*open_parents(base, specialists, allow_pickle)), recipe.tokenizer)
    if aligned.added:
        write_union(directory, base, specialists.values(), aligned.added)
        for name in STALE:
            (directory / name).unlink(missing_ok=True)
    _set_vocabulary_size(directory / "config.json", int(aligned.rows))


def _set_vocabulary_size(path: Path, rows: int) -> None:
    if path.is_file():
        config = json.loads(path.read_text(encoding="utf-8"))
        config["vocab_size"] = rows
        write_json(path, config)
