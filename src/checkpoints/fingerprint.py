"""Fingerprint of a checkpoint: the hashes of its weights, config and tokenizer, and of no other file."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from src.checkpoints.layout import INDEX_FILE, SINGLE_FILE, read_index, shards_without_index
from src.checkpoints.pickled import adapter_pickles, pickle_files
from src.checkpoints.side_files import SIDE_FILES, side_files
from src.runs.file_hashes import hash_files
from src.runs.finished import FinishedRun, open_finished
from src.utils.files import sha256_json

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
RECORDED = (*SIDE_FILES, *ADAPTER_FILES, "model*.safetensors", INDEX_FILE)  # checkpoint files that our runs write


@dataclass(frozen=True)
class IdentifiedCheckpoint:
    """A checkpoint directory with the hashes of its files.

    Args:
        path: The directory.
        files: SHA-256 by name of the file.
        run: The run that made it; None for a checkpoint from elsewhere.
    """

    path: Path
    files: dict[str, str]
    run: FinishedRun | None

    @property
    def weights(self) -> str:
        """One hash for the weights alone."""
        names = [path.relative_to(self.path).as_posix() for path in weight_files(self.path)]
        return sha256_json({name: self.files[name] for name in names})


def identify(directory: Path) -> IdentifiedCheckpoint:
    """Hash the files of a checkpoint, reading only those that look changed since they were last hashed.

    Raises:
        UserError: The directory is a finished run, and one of its files has changed since.
    """
    names = checkpoint_files(directory)
    run = open_finished(directory)
    if run is None:
        states = hash_files({name: directory / name for name in names})
        return IdentifiedCheckpoint(directory, {name: state.sha256 for name, state in states.items()}, None)
    written = {name for name in run.outputs if any(fnmatch(name, pattern) for pattern in RECORDED)}
    if (directory / INDEX_FILE).is_file():  # beside a single file some loaders would follow it
        names.append(INDEX_FILE)
    return IdentifiedCheckpoint(directory, run.hashes(written | set(names)), run)


def fingerprint(directory: Path) -> dict[str, str]:
    """`identify`, for callers that need only the hashes."""
    return identify(directory).files


def weights_fingerprint(directory: Path) -> str:
    """One hash of only the weights of a checkpoint; cached samples are keyed by it."""
    return identify(directory).weights


def checkpoint_files(directory: Path) -> list[str]:
    """Names of the files that define a checkpoint: its weights, config, tokenizer and chat template."""
    files = (*side_files(directory), *weight_files(directory))
    return sorted({path.relative_to(directory).as_posix() for path in files})


def weight_files(directory: Path) -> list[Path]:
    """The weight files that `Checkpoint` reads; a repository may also hold the same weights in other formats."""
    adapter = [directory / name for name in ADAPTER_FILES if (directory / name).is_file()]
    if (directory / SINGLE_FILE).is_file():
        return [directory / SINGLE_FILE, *adapter]
    if (directory / INDEX_FILE).is_file():
        shards = sorted(set(read_index(directory).values()))
        return [directory / INDEX_FILE, *(directory / shard for shard in shards), *adapter]
    if adapter:
        return adapter if len(adapter) > 1 else [*adapter, *adapter_pickles(directory)]
    return shards_without_index(directory) or pickle_files(directory)
