"""Export a trained network as a Hugging Face directory that any tool can load."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from src.checkpoints import Checkpoint, CheckpointWriter, TensorInfo
from src.lit_modules.export_adapter import FOLDER, export_adapter
from src.models.adapters import NAME, adapter_updates
from src.models.save import save_config, save_tokenizer
from src.utils.ranks import is_main_process, wait_for_all

Tensors = dict[str, tuple[torch.Size, Callable[[], torch.Tensor]]]  # name -> shape, and how to get it whole


def export_checkpoint(
    network: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    directory: Path,
    dtype: torch.dtype,
    base: Checkpoint | None = None,
    base_name: str | None = None,
) -> None:
    """Write weights, config, generation config, tokenizer and chat template; the weights appear last.

    Weights are cast one by one while they are written, and tied ones are written once, so no copy of the model is
    held in memory. A sharded network is gathered one tensor at a time: all ranks call this, and the first one writes.

    Args:
        network: The trained model, in any dtype, whole or sharded.
        tokenizer: Its end token is added to those of the generation config.
        directory: Directory of the checkpoint; created if missing.
        dtype: Type of the weights on disk.
        base: For a network with adapters, the checkpoint that it was loaded from: the adapters' updates are added to
            its original weights, not to those that were quantized for training. The adapters alone go to `adapter/`.
        base_name: Directory or Hugging Face name of `base` for `adapter_config.json`; None: its directory.
    """
    tensors = _own_weights(network) if base is None else _adapted_weights(network, base)
    if is_main_process():
        directory.mkdir(parents=True, exist_ok=True)
        save_tokenizer(tokenizer, directory)
        _save_configs(network, tokenizer, directory, dtype)
        _write(tensors, directory, dtype)
    else:
        for _, tensor in tensors.values():
            tensor()
    if base is not None:
        export_adapter(network, directory / FOLDER, base_name or str(base.path.absolute()))
    wait_for_all()


def _own_weights(network: PreTrainedModel) -> Tensors:
    state = network.state_dict()
    names = sorted(set(state) - set(network.all_tied_weights_keys))
    return {name: (state[name].shape, partial(_whole, state[name])) for name in names}


def _adapted_weights(network: PreTrainedModel, base: Checkpoint) -> Tensors:
    updates = dict(adapter_updates(network))
    assert set(updates) <= set(base.names), "adapters on weights that the base does not have"

    def weight(name: str) -> torch.Tensor:
        if name not in updates:
            return base.tensor(name)
        return base.tensor(name).float() + _whole(updates[name](NAME)).detach().cpu().float()

    return {name: (torch.Size(base.shape(name)), partial(weight, name)) for name in base.names}


def _write(tensors: Tensors, directory: Path, dtype: torch.dtype) -> None:
    table = {name: TensorInfo(tuple(shape), dtype) for name, (shape, _) in tensors.items()}
    with CheckpointWriter(directory, table) as writer:
        for name, (_, tensor) in tensors.items():
            whole = tensor()  # a collective: called even for tensors that an earlier attempt has written
            if name in writer.pending:
                writer.write(name, whole.detach().to("cpu", dtype))


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _save_configs(
    network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, directory: Path, dtype: torch.dtype
) -> None:
    config = copy.deepcopy(network.config)
    config.dtype, config.architectures = dtype, [type(network).__name__.removeprefix("FSDP")]
    config.eos_token_id, config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    save_config(config, directory)
    generation = copy.deepcopy(network.generation_config)
    assert generation is not None
    known = generation.eos_token_id if isinstance(generation.eos_token_id, list) else [generation.eos_token_id]
    # a base checkpoint's end token ends documents, not turns: without the tokenizer's, a tuned model would never stop
    generation.eos_token_id = [tokenizer.eos_token_id, *(i for i in known if i not in (None, tokenizer.eos_token_id))]
    generation.pad_token_id = tokenizer.pad_token_id
    generation.save_pretrained(directory)
