"""New weights for a model that is already in memory: grid points differ in nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from src.checkpoints import read_config
from src.utils.errors import UserError, first_differences
from src.utils.files import sha256_file

SHELL_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json"),
    *("vocab.json", "merges.txt", "generation_config.json"),
)


@torch.no_grad()
def take_weights(model: PreTrainedModel, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Copy tensors into a live model one by one, in its dtype and on its device.

    Args:
        model: Changed in place; tied tensors may be named once or under both names.
        tensors: (name, values), each used before the next is asked for.

    Raises:
        UserError: A name is unknown or missing, or a shape differs; the model may hold some new tensors by then.
    """
    own = model.state_dict(keep_vars=True)
    places = {name: tensor.data_ptr() for name, tensor in own.items()}
    filled, wrong = set[int](), []
    for name, values in tensors:
        if name not in own:
            wrong.append(f"{name} is unknown")
        elif own[name].shape != values.shape:
            wrong.append(f"{name} has shape {list(values.shape)}, expected {list(own[name].shape)}")
        else:
            own[name].data.copy_(values)
            filled.add(places[name])
    wrong += [f"{name} is missing" for name, place in places.items() if place not in filled]
    if wrong:
        raise UserError(first_differences("the weights do not fit the loaded model", wrong))


def shell(directory: Path) -> dict[str, Any]:
    """All of a checkpoint but its weights: two checkpoints with equal shells can share one model in memory."""
    files = [directory / name for name in SHELL_FILES]
    stored = read_config(directory)
    # transformers writes its own version into the config; the dtype is the generator's business
    config = {key: value for key, value in stored.items() if key not in ("transformers_version", "_name_or_path")}
    return {"config": config, "files": {file.name: sha256_file(file) for file in files if file.is_file()}}
