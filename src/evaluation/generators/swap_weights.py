"""Replace the weights of a model that is already in memory: the points of a merge grid differ only in weights."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from src.checkpoints import TensorInfo, read_config
from src.checkpoints.compat import model_differences
from src.checkpoints.side_files import side_files
from src.utils.errors import UserError, first_differences
from src.utils.files import sha256_file


@torch.no_grad()
def take_weights(model: PreTrainedModel, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Copy tensors into a loaded model one by one, in its dtype and on its device.

    Args:
        model: Changed in place; tied tensors may be named once or under both names.
        tensors: (name, values), each used before the next is requested.

    Raises:
        UserError: A name is unknown or missing, or a shape differs; the model may already hold some new tensors.
    """
    own = model.state_dict(keep_vars=True)
    found = dict[str, TensorInfo]()
    for name, values in tensors:
        found[name] = TensorInfo(tuple(values.shape), values.dtype)
        if name in own and own[name].shape == values.shape:
            own[name].data.copy_(values)
    differences = model_differences(own, found)
    if differences:
        raise UserError(first_differences("the weights do not fit the loaded model", differences))


def all_but_weights(directory: Path, network: Path | None = None) -> dict[str, Any]:
    """Return config and hashes of tokenizer files; checkpoints with equal ones can share a model in memory.

    Args:
        directory: A checkpoint.
        network: Another directory that has its `config.json`.
    """
    files = {path.name: path for path in side_files(directory) if path.name != "config.json"}
    stored = read_config(network or directory)
    # transformers writes its own version into the config; the generator chooses the dtype
    config = {key: value for key, value in stored.items() if key not in ("transformers_version", "_name_or_path")}
    return {"config": config, "files": {name: sha256_file(path) for name, path in files.items()}}
