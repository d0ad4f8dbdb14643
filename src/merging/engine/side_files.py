"""Config, tokenizer and chat template of a merge."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from src.checkpoints import copy_side_files, read_config
from src.checkpoints.side_files import PROCESSORS, companion_files, copy_files, side_files
from src.merging.engine.agreed_files import settle_files
from src.merging.engine.chat_files import choose_chat_files
from src.merging.recipe import OUTPUT_DTYPES, Recipe
from src.merging.tensors.lora_adapter import is_adapter
from src.merging.tensors.matching import match_tensors
from src.merging.tensors.parent import open_parents
from src.merging.tensors.tokenizer_json import write_union
from src.merging.tensors.vocabulary import align_vocabulary
from src.utils.files import write_json

CONFIGS = {"config.json", "generation_config.json"}
STALE = ("vocab.json", "merges.txt", "added_tokens.json", "tokenizer.model")  # these lack the new tokens of a union


def write_side_files(
    directory: Path, base: Path, specialists: Mapping[str, Path], recipe: Recipe, allow_pickle: bool = False
) -> None:
    """Write config, tokenizer and chat template next to merged weights.

    `choose_chat_files` decides whose they are. With `merge.tokenizer` base or union, they are the base's, with the
    tokens of the union. All other files of the base except its weights (remote code, processors, license) are copied.

    Args:
        directory: Directory of the merge.
        base: Checkpoint directory of the base.
        specialists: Checkpoint or adapter directories.
        recipe: Recipe of the merge.
        allow_pickle: See `Checkpoint`.
    """
    chosen = choose_chat_files(base, specialists, recipe)
    first = chosen.source
    dtype = OUTPUT_DTYPES[recipe.dtype] if recipe.dtype else _other_dtype(base, first)
    copy_files(companion_files(base), base, directory)
    if is_adapter(first) or recipe.tokenizer in ("base", "union"):
        copy_side_files(base, directory, dtype)
    if recipe.tokenizer in ("equal", "shared"):
        copy_files(_lacking(first, side_files(base)), base, directory)
        copy_side_files(first, directory, dtype)
        processors = sorted(path for pattern in PROCESSORS for path in first.glob(pattern))
        copy_files([*processors, *_remote_code(first)], first, directory)
        if not is_adapter(first) and recipe.template not in ("base", *specialists):
            settle_files(directory, base, specialists)
    chosen.write(directory)
    if recipe.tokenizer == "equal":
        return
    aligned = align_vocabulary(*match_tensors(*open_parents(base, specialists, allow_pickle)), recipe.tokenizer)
    if aligned.added:
        write_union(directory, base, specialists.values(), aligned.added)
        for name in STALE:
            (directory / name).unlink(missing_ok=True)
    _set_vocabulary_size(directory / "config.json", int(aligned.rows))


def _lacking(first: Path, files: Sequence[Path]) -> list[Path]:
    """Files of the base that a specialist has no counterpart of; tokenizer and chat template are one thing."""
    own = {path.name for path in side_files(first)}
    return [path for path in files if path.name not in own and (path.name in CONFIGS or own <= CONFIGS)]


def _remote_code(directory: Path) -> list[Path]:
    """Python files that the config of a checkpoint names, with those beside them that they may import."""
    return sorted(directory.glob("*.py")) if "auto_map" in read_config(directory) else []


def _other_dtype(base: Path, first: Path) -> torch.dtype | None:
    """The base's dtype where the first specialist's config has another: the weights have the base's."""
    ours, theirs = (read_config(path).get("torch_dtype") or read_config(path).get("dtype") for path in (base, first))
    return OUTPUT_DTYPES.get(str(ours)) if ours != theirs else None


def _set_vocabulary_size(path: Path, rows: int) -> None:
    if path.is_file():
        config = json.loads(path.read_text(encoding="utf-8"))
        config["vocab_size"] = rows
        write_json(path, config)
