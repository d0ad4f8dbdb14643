"""Files of a checkpoint other than its weights: config, tokenizer, generation config and chat template."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

from src.utils.errors import UserError
from src.utils.files import write_json

SIDE_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",  # vocabularies of sentencepiece
    "chat_template*",
    "additional_chat_templates/*",
)


def side_files(directory: Path) -> list[Path]:
    """Config, tokenizer, generation config and chat template of a checkpoint, sorted."""
    return sorted({path for pattern in SIDE_FILES for path in directory.glob(pattern) if path.is_file()})


def copy_side_files(source: Path, destination: Path, dtype: torch.dtype | None = None) -> list[Path]:
    """Copy a checkpoint without its weights.

    Args:
        source: Checkpoint directory.
        destination: Directory, created if absent.
        dtype: Dtype of the weights in `destination`, written into its `config.json`; None keeps what it says.

    Returns:
        The files written.

    Raises:
        UserError: `source` is not a directory.
    """
    if not source.is_dir():
        raise UserError(f"no checkpoint at {source}")
    written = []
    for path in side_files(source):
        target = destination / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        written.append(target)
    if dtype is not None and (destination / "config.json").is_file():
        _set_dtype(destination / "config.json", dtype)
    return written


def _set_dtype(path: Path, dtype: torch.dtype) -> None:
    config = json.loads(path.read_text(encoding="utf-8"))
    key = "torch_dtype" if "torch_dtype" in config else "dtype"  # transformers 5 writes `dtype`
    config[key] = str(dtype).removeprefix("torch.")
    write_json(path, config)
