"""Changes to the layers of a loaded network: faster kernels, compilation, activation checkpointing."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from transformers import PreTrainedModel

from src.utils.errors import UserError


def apply_kernels(
    network: PreTrainedModel, *, gpu: bool, liger: bool | None = None, compiled: bool = False
) -> list[str]:
    """Patch the layers of a network in place.

    Args:
        network: On any device.
        gpu: Whether it will run on a GPU.
        liger: Use Liger's RMSNorm, rotary embedding and SwiGLU; None: if it is installed and the network is on a GPU.
        compiled: Compile every decoder layer on its first call.

    Returns:
        Names of the changes, for the log.

    Raises:
        UserError: Liger is requested and not installed, or the network is not on a GPU.
    """
    applied = []
    if wants_liger(liger, gpu):
        from liger_kernel.transformers import _apply_liger_kernel_to_instance

        _apply_liger_kernel_to_instance(network, cross_entropy=False, fused_linear_cross_entropy=False)
        applied.append("Liger kernels")
    if compiled:
        for layer in decoder_layers(network):
            layer.compile(dynamic=True)
        applied.append("torch.compile")
    return applied


def narrow_stream(network: PreTrainedModel) -> None:
    """Under autocast, keep the residual stream in half precision, as FSDP2 does for a sharded network.

    Autocast alone leaves it in float32, which takes twice the memory and a cast before every matrix product.
    """

    def narrow(module: torch.nn.Module, given: Any, embedded: torch.Tensor) -> torch.Tensor:
        device = embedded.device.type
        return embedded.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else embedded

    network.get_input_embeddings().register_forward_hook(narrow)


def recompute_activations(network: PreTrainedModel) -> None:
    """Recompute the activations inside every decoder layer in the backward pass instead of storing them."""
    # transformers 5 renamed this method
    enable = getattr(network, "activation_checkpointing_enable", None) or network.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def decoder_layers(network: torch.nn.Module) -> torch.nn.ModuleList:
    """Return the repeated blocks of a network: its one ModuleList named `layers`."""
    found = [
        module
        for name, module in network.named_modules()
        if name.rsplit(".", 1)[-1] == "layers" and isinstance(module, torch.nn.ModuleList)
    ]
    assert len(found) == 1, f"{type(network).__name__} has {len(found)} lists of layers"
    return found[0]


def wants_liger(liger: bool | None, gpu: bool) -> bool:
    """Return true if Liger's kernels are to be used; None: if they are installed and the run uses a GPU.

    Raises:
        UserError: They are requested and not installed, or the run uses no GPU.
    """
    installed = importlib.util.find_spec("liger_kernel") is not None
    if liger and not installed:
        raise UserError(
            "model.liger=true: liger-kernel is not installed: pip install liger-kernel, or set model.liger=null"
        )
    if liger and not gpu:
        raise UserError(
            "model.liger=true needs a CUDA GPU, but this run uses none; set trainer=gpu or model.liger=null"
        )
    return installed and gpu if liger is None else liger
