"""A trained network -> a Hugging Face directory that any tool loads."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from src.checkpoints import CheckpointWriter, TensorInfo


def export_checkpoint(
    network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, directory: Path, dtype: torch.dtype
) -> None:
    """Write weights, config, generation config, tokenizer and chat template; the weights appear last.

    Weights are cast one by one while they are written, and tied ones are written once, so this needs no copy of the
    model in memory.

    Args:
        network: The trained model, in any dtype.
        tokenizer: Its end token becomes one of the generation config's.
        directory: Where the checkpoint appears; created if absent.
        dtype: Type of the weights on disk.
    """
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(directory)
    _save_configs(network, tokenizer, directory, dtype)
    tensors = network.state_dict()
    names = sorted(set(tensors) - set(network.all_tied_weights_keys))
    table = {name: TensorInfo(tuple(tensors[name].shape), dtype) for name in names}
    with CheckpointWriter(directory, table) as writer:
        for name in writer.pending:
            writer.write(name, tensors[name].detach().to("cpu", dtype))


def _save_configs(
    network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, directory: Path, dtype: torch.dtype
) -> None:
    config = copy.deepcopy(network.config)
    config.dtype, config.architectures = dtype, [type(network).__name__]
    config.eos_token_id, config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    config.save_pretrained(directory)
    generation = copy.deepcopy(network.generation_config)
    assert generation is not None
    known = generation.eos_token_id if isinstance(generation.eos_token_id, list) else [generation.eos_token_id]
    # a base checkpoint ends documents, not turns: without its own end token a tuned model would never stop
    generation.eos_token_id = [tokenizer.eos_token_id, *(i for i in known if i not in (None, tokenizer.eos_token_id))]
    generation.pad_token_id = tokenizer.pad_token_id
    generation.save_pretrained(directory)
