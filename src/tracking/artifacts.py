"""Nodes of the lineage: a run directory or a checkpoint as the files that a tracker keeps, and those it refers to.

The same directory gives the same node, whether a run made it or another one used it, so that a tracker joins the two.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from src.checkpoints.fingerprint import identify
from src.reporting.model_card import CARD
from src.runs.finished import read_record
from src.runs.paths import checkpoint_label, hub_origin
from src.utils.files import sha256_json

LARGE = 10 * 2**20  # bytes; larger files are referred to and stay where they are
LONGEST = 128  # characters of a name in W&B
KINDS = {
    "train": "model",
    "merge": "model",
    "evaluate": "evaluation",
    "diagnose": "diagnosis",
    "study": "study",
    "compare": "comparison",
    "search": "search",
}  # stage -> type of the artifact


@dataclass(frozen=True)
class Artifact:
    """A node of the lineage.

    Args:
        name: Name of its versions, e.g. `train-pocket-mix-s0`.
        kind: `model`, `data`, `evaluation`, `diagnosis`, `comparison`, `search` or `study`.
        hashes: SHA-256 by file name, and of the configuration and the inputs: the content of this version.
        files: Files that the tracker keeps, by name.
        references: Addresses of larger files, by name.
        about: Values that describe it.
    """

    name: str
    kind: str
    hashes: Mapping[str, str]
    files: Mapping[str, Path] = field(default_factory=dict)
    references: Mapping[str, str] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def listing(self) -> str:
        """Text of its file `hashes.json`."""
        return json.dumps(dict(sorted(self.hashes.items())), indent=1)


def directory_artifact(directory: Path) -> Artifact:
    """A finished run, or a checkpoint from elsewhere."""
    record = read_record(directory)
    if record is None or record.get("state") != "finished":
        return _foreign_checkpoint(directory)
    stage = str(record["stage"])
    outputs = {name: state for name, state in record["outputs"].items() if name != CARD}  # a study rewrites it
    hashes = {name: str(state["sha256"]) for name, state in outputs.items()}
    identity = {key: record[key] for key in ("stage", "config", "inputs")}
    files, references = _kept_and_referred(directory, hashes)
    return Artifact(
        artifact_name(stage, directory.name),
        KINDS.get(stage, stage),
        hashes | {"(configuration and inputs)": sha256_json(identity)},
        files,
        references,
        {"directory": str(directory.resolve()), "command": " ".join(record["argv"]), "commit": record["commit"]},
    )


def data_artifact(task: str, found: Mapping[str, Any]) -> Artifact:
    """The tokenized training rows of a task.

    Args:
        task: Its name.
        found: `sha256` of the tokens and masks, `rows`, and what else describes them.
    """
    about = {key: value for key, value in found.items() if key != "sha256"}
    return Artifact(artifact_name("data", task), "data", {"(tokens)": str(found["sha256"])}, about=about)


def artifact_name(*words: str) -> str:
    """Words as a name that W&B accepts.

    Example:
        >>> artifact_name("merge", "pocket-ties-w0.3 (2)")
        'merge-pocket-ties-w0.3__2_'
    """
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", "-".join(words))
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 9]}-{sha256_json(name)[:8]}"


def _foreign_checkpoint(directory: Path) -> Artifact:
    hashes = identify(directory).files
    if origin := hub_origin(directory):
        name, commit = origin
        references = {file: f"https://huggingface.co/{name}/blob/{commit}/{file}" for file in hashes}
        about = {"hub": name, "revision": commit}
        return Artifact(artifact_name("hub", *name.split("/")), "model", hashes, {}, references, about)
    files, references = _kept_and_referred(directory, hashes)
    about = {"directory": str(directory.resolve())}
    return Artifact(artifact_name("checkpoint", checkpoint_label(directory)), "model", hashes, files, references, about)


def _kept_and_referred(directory: Path, names: Iterable[str]) -> tuple[dict[str, Path], dict[str, str]]:
    places = {name: (directory / name).resolve() for name in names if (directory / name).is_file()}
    large = {name for name, place in places.items() if place.stat().st_size > LARGE}
    kept = {name: place for name, place in places.items() if name not in large}
    return kept, {name: places[name].as_uri() for name in places if name in large}
