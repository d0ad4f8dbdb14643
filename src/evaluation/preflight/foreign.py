"""Training settings that other tools leave beside a checkpoint. No pickle is loaded: that would run its code."""

from __future__ import annotations

import itertools
import json
import pickletools
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from src.utils.files import read_json_object

# name of transformers.TrainingArguments, LLaMA-Factory, axolotl or a model card -> ours
NAMES = {
    "learning_rate": "learning rate",
    "num_train_epochs": "epochs",
    "num_epochs": "epochs",
    "per_device_train_batch_size": "rows per device",
    "train_batch_size": "rows per device",
    "micro_batch_size": "rows per device",
    "gradient_accumulation_steps": "accumulation",
    "total_train_batch_size": "batch size",
    "lr_scheduler_type": "schedule",
    "lr_scheduler": "schedule",
    "warmup_ratio": "warmup",
    "lr_scheduler_warmup_ratio": "warmup",
    "weight_decay": "weight decay",
    "cutoff_len": "sequence length",
    "sequence_len": "sequence length",
    "max_seq_length": "sequence length",
    "max_length": "sequence length",
    "model_max_length": "sequence length",
    "packing": "packing",
    "sample_packing": "packing",
    "lora_rank": "LoRA rank",
    "lora_r": "LoRA rank",
    "template": "training template",
    "seed": "training seed",
}
YAMLS = ("training_args.yaml", "train.yaml", "axolotl_config.yaml", "llamafactory.yaml")
_CARD_LINE = re.compile(r"^[-*] (\w+): (\S+)\s*$", re.MULTILINE)
_VALUES = ("BINFLOAT", "FLOAT", "BININT", "BININT1", "BININT2", "INT", "LONG1", "BINUNICODE", "SHORT_BINUNICODE")
_BOOLS = {"NEWTRUE": True, "NEWFALSE": False}


def training_settings(directory: Path) -> dict[str, Any]:
    """Return what the files of a checkpoint say about its training, by our names; the most exact file wins.

    It reads the README of `transformers.Trainer` and axolotl, YAML files of LLaMA-Factory and axolotl, and
    `training_args.bin`. `steps` and `tokens` come from `trainer_state.json`.
    """
    found: dict[str, Any] = {}
    readers: tuple[Callable[[Path], dict[str, Any]], ...] = (_card, _yaml_files, _training_args, _adapter)
    for read in readers:
        found |= {NAMES[name]: value for name, value in read(directory).items() if name in NAMES and value is not None}
    return found | _state(directory)


def base_name(directory: Path) -> str | None:
    """Name of the base model, from an adapter's config or the model card."""
    adapter = _json(directory / "adapter_config.json").get("base_model_name_or_path")
    named = adapter or _front_matter(directory).get("base_model")
    named = named[0] if isinstance(named, list) and len(named) == 1 else named
    return named if isinstance(named, str) else None


def _card(directory: Path) -> dict[str, Any]:
    path = directory / "README.md"
    if not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8", errors="replace")
    found: dict[str, Any] = {name: _plain(value) for name, value in _CARD_LINE.findall(text)}
    for block in re.findall(r"```ya?ml\n(.*?)```", text, flags=re.DOTALL):  # axolotl
        found |= _yaml(block)
    return found


def _front_matter(directory: Path) -> dict[str, Any]:
    path = directory / "README.md"
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    head = re.match(r"---\r?\n(.*?)\r?\n---", text, flags=re.DOTALL)
    return _yaml(head[1]) if head else {}


def _yaml_files(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in YAMLS:
        if (directory / name).is_file():
            found |= _yaml((directory / name).read_text(encoding="utf-8", errors="replace"))
    return found


def _training_args(directory: Path) -> dict[str, Any]:
    """Names and values next to each other in the pickle of `training_args.bin`, which is never loaded."""
    path = directory / "training_args.bin"
    try:
        with zipfile.ZipFile(path) as archive:
            [name] = [name for name in archive.namelist() if name.endswith("data.pkl")]
            code = list(pickletools.genops(archive.read(name)))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return {}
    words = [(op.name, value) for op, value, _ in code if op.name not in ("BINPUT", "LONG_BINPUT", "MEMOIZE")]
    return {
        str(key): _BOOLS.get(kind, value)
        for (_, key), (kind, value) in itertools.pairwise(words)
        if key in NAMES and (kind in _VALUES or kind in _BOOLS)
    }


def _adapter(directory: Path) -> dict[str, Any]:
    return {"lora_rank": _json(directory / "adapter_config.json").get("r")}


def _state(directory: Path) -> dict[str, Any]:
    state = _json(directory / "trainer_state.json")
    steps, tokens = state.get("global_step"), state.get("num_input_tokens_seen")
    return {name: value for name, value in (("steps", steps), ("tokens", tokens)) if value}


def _json(path: Path) -> dict[str, Any]:
    try:
        return read_json_object(path) if path.is_file() else {}
    except ValueError:
        return {}


def _yaml(text: str) -> dict[str, Any]:
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return {str(key): _plain(value) for key, value in found.items()} if isinstance(found, dict) else {}


def _plain(value: Any) -> Any:
    """A number where a text is one: YAML takes 5e-06 for a text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        try:
            return float(value)
        except ValueError:
            return value
