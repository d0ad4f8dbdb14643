"""Checkpoint directories, opened without reading their weights."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from src.checkpoints.layout import (
    INDEX_FILE,
    SINGLE_FILE,
    Entry,
    TensorInfo,
    prefetch,
    read_header,
    read_index,
    read_into,
    shards_without_index,
)
from src.checkpoints.model_class import is_tied
from src.checkpoints.pickled import PickledWeights, adapter_pickles, pickle_files
from src.utils.errors import UserError, first_differences
from src.utils.files import read_json_object

LOADED = (None, SINGLE_FILE, INDEX_FILE)  # what `transformers_weights` of a config may name


class Checkpoint:
    """A Hugging Face directory with safetensors weights: one file, or shards with or without their index.

    Opening reads only the tables of contents. Each tensor is read on request into its own memory; reading is
    thread-safe.

    Args:
        path: The directory.
        allow_pickle: Read pickled weights (with `weights_only`) if there are no safetensors.
        weights: Name of the safetensors file if there is no index.

    Raises:
        UserError: The directory or its weights do not exist, or files are truncated or corrupt.

    Example:
        >>> checkpoint = Checkpoint(Path("runs/train/pocket-mix-s0"))  # doctest: +SKIP
        >>> checkpoint.tensor("model.norm.weight")  # doctest: +SKIP
    """

    computed: frozenset[str] = frozenset()  # every tensor is stored; see `src.merging.tensors.parent`

    def __init__(self, path: Path, allow_pickle: bool = False, weights: str = SINGLE_FILE) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise UserError(f"no checkpoint at {self.path}: expected a Hugging Face directory with {weights}")
        if weights == SINGLE_FILE and (named := read_config(self.path).get("transformers_weights")) not in LOADED:
            raise UserError(f"{self.path}/config.json names transformers_weights={named!r}: expected {SINGLE_FILE}")
        self._pickled: PickledWeights | None = None
        self._entries: dict[str, Entry] = {}
        if (self.path / weights).is_file():  # before the index, as transformers does
            self._entries = read_header(self.path / weights)
        elif weights == SINGLE_FILE and (self.path / INDEX_FILE).is_file():
            self._entries = _indexed(self.path)
        elif weights == SINGLE_FILE and (shards := shards_without_index(self.path)):
            self._entries = _joined(shards)
        elif not (pickles := pickle_files(self.path) if weights == SINGLE_FILE else adapter_pickles(self.path)):
            raise UserError(f"no weights in {self.path}: expected {weights} or {INDEX_FILE}")
        elif not allow_pickle:
            raise UserError(f"{self.path} holds only pickled weights; convert them, or pass allow_pickle=true")
        else:
            self._pickled = PickledWeights(pickles)

    @cached_property
    def table(self) -> Mapping[str, TensorInfo]:
        """Name -> shape and dtype of every stored tensor, sorted by name."""
        found = self._pickled.table if self._pickled else {name: entry.info for name, entry in self._entries.items()}
        return dict(sorted(found.items()))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the stored tensors, sorted. A tied `lm_head.weight` is usually not stored and not among them."""
        return tuple(self.table)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, without reading it."""
        return self._info(name).shape

    def dtype(self, name: str) -> torch.dtype:
        """Stored dtype of a tensor, without reading it."""
        return self._info(name).dtype

    def tensor(self, name: str) -> torch.Tensor:
        """Read one tensor in its stored dtype."""
        info = self._info(name)
        return self.flat(name, 0, info.numel).reshape(info.shape)

    def flat(self, name: str, start: int, stop: int) -> torch.Tensor:
        """Read elements [start, stop) of a tensor in storage order, as a one-dimensional tensor."""
        out = torch.empty(stop - start, dtype=self._info(name).dtype)
        self.read_into(name, start, out)
        return out

    def read_into(self, name: str, start: int, out: torch.Tensor) -> None:
        """Read elements [start, start + len(out)) of a tensor into existing memory, in the stored dtype."""
        self._info(name)
        if self._pickled:
            out.copy_(self._pickled.tensor(name).reshape(-1)[start : start + out.numel()])
        else:
            read_into(self._entries[name], start, out)

    def prefetch(self, name: str) -> None:
        """Ask the operating system to read a tensor ahead; returns at once."""
        if name in self._entries:
            prefetch(self._entries[name])

    @cached_property
    def config(self) -> dict[str, Any]:
        """The parsed `config.json`; empty if there is none."""
        return read_config(self.path)

    @property
    def tied(self) -> bool:
        """True if the output head shares the input embedding, by the config or by default of the model class."""
        return is_tied(self.config)

    def _info(self, name: str) -> TensorInfo:
        if name not in self.table:
            raise KeyError(f"{self.path} has no tensor {name!r}")
        return self.table[name]


def read_config(directory: Path) -> dict[str, Any]:
    """Parse the `config.json` of a checkpoint directory; empty if there is none.

    Raises:
        UserError: It is not a JSON object.
    """
    path = directory / "config.json"
    return read_json_object(path) if path.is_file() else {}


def _indexed(directory: Path) -> dict[str, Entry]:
    weight_map = read_index(directory)
    shards = {file: read_header(directory / file) for file in sorted(set(weight_map.values()))}
    missing = [f"{name} in {file}" for name, file in weight_map.items() if name not in shards[file]]
    if missing:
        raise UserError(first_differences(f"{directory / INDEX_FILE} names tensors that its shards lack", missing))
    return {name: shards[file][name] for name, file in weight_map.items()}


def _joined(shards: list[Path]) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for shard in shards:
        found = read_header(shard)
        if twice := sorted(entries.keys() & found.keys()):
            raise UserError(first_differences(f"{shard.parent} has no {INDEX_FILE} and shards that repeat", twice))
        entries |= found
    return entries
