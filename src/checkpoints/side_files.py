"""Files of a checkpoint other than its weights: config, tokenizer, generation config and chat template."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from fnmatch import fnmatch
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
    "*.spm",
    "*.tiktoken",
    "tekken.json",
    "bpe.codes",
    "chat_template*",
    "additional_chat_templates/*",
)

PROCESSORS = ("*processor_config.json",)  # of images, audio and video, and of both with text

# Everything else in a checkpoint directory is copied to a merge, unless it holds weights or is about one run.
_WEIGHTS = (
    *("*.safetensors", "*.bin", "*.pt", "*.pth", "*.ckpt", "*.gguf", "*.ggml", "*.h5", "*.msgpack", "*.onnx", "*.ot"),
    *("*.onnx_data", "*.npz", "*.npy", "*.tflite", "*.mlmodel", "*.index.json", "*.pkl", "*.distcp", "*.dduf"),
)
_OF_A_RUN = (
    *("run.json", "*.jsonl", "*.csv", "*.log", "*.out", "*.err", "README*", "adapter_config.json", "zero_to_fp32.py"),
    *("trainer_state.json", "training_args*", "*_results.json", "optimizer*", "scheduler*", "rng_state*", "latest"),
    *("events.out.*", "mergekit_config.y*ml", "*.lock", "*.png", "*.jpg", "*.svg", "*.html", "*.pdf"),
)
_FOLDERS_OF_A_RUN = (
    *(
        "checkpoint-*",
        "adapter",
        "global_step*",
        "runs",
        "logs",
        "wandb",
        "figures",
        "__pycache__",
        "onnx",
        "original",
        "openvino",
    ),
)


def companion_files(directory: Path) -> list[Path]:
    """Files beside the weights that are neither `side_files` nor about one run: remote code, processors, license.

    A folder that is a checkpoint of its own is left out; hidden files are.
    """
    own = set(side_files(directory))
    found = []
    for path in sorted(directory.rglob("*")):
        parts = path.relative_to(directory).parts
        folders = [directory.joinpath(*parts[:depth]) for depth in range(1, len(parts))]
        if (
            path not in own
            and path.is_file()
            and not any(part.startswith(".") for part in parts)
            and not any(fnmatch(path.name, pattern) for pattern in (*_WEIGHTS, *_OF_A_RUN))
            and not any(fnmatch(folder.name, pattern) for folder in folders for pattern in _FOLDERS_OF_A_RUN)
            and not any((folder / name).is_file() for folder in folders for name in ("config.json", "run.json"))
        ):
            found.append(path)
    return found


def copy_files(files: Iterable[Path], source: Path, destination: Path) -> list[Path]:
    """Copy files of `source` to the same places below `destination`; returns the copies."""
    written = []
    for path in files:
        target = destination / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        written.append(target)
    return written


def side_files(directory: Path) -> list[Path]:
    """Config, tokenizer, generation config and chat template of a checkpoint, sorted."""
    return sorted({path for pattern in SIDE_FILES for path in directory.glob(pattern) if path.is_file()})


def copy_side_files(source: Path, destination: Path, dtype: torch.dtype | None = None) -> list[Path]:
    """Copy config, tokenizer, generation config and chat template of a checkpoint.

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
    written = copy_files(side_files(source), source, destination)
    if dtype is not None and (destination / "config.json").is_file():
        _set_dtype(destination / "config.json", dtype)
    return written


def _set_dtype(path: Path, dtype: torch.dtype) -> None:
    config = json.loads(path.read_text(encoding="utf-8"))
    key = "torch_dtype" if "torch_dtype" in config else "dtype"  # transformers 5 writes `dtype`
    name = str(dtype).removeprefix("torch.")
    if config.get(key) != name:
        config[key] = name
        write_json(path, config)
