"""Statistics of a model on its task's data, for Fisher-weighted merging and RegMean. Needs only torch.

`model(**batch).loss` must be the mean loss over the tokens whose label is not -100, as Hugging Face models return it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack

import torch
from torch import nn

Batch = Mapping[str, torch.Tensor]


def diagonal_fisher(model: nn.Module, batches: Iterable[Batch]) -> dict[str, torch.Tensor]:
    """Empirical diagonal Fisher information: the mean over sequences of the squared gradient of their loss.

    The gradients are those of the summed loss of a sequence's answer tokens, one sequence at a time (the square of a
    batch's gradient is a different quantity), accumulated in float32.

    Args:
        model: In evaluation mode; its gradients are overwritten.
        batches: Tensors (B, T): input_ids, attention_mask, labels (-100 where there is no loss).

    Returns:
        Parameter name -> tensor of its shape, float32. Tied weights appear once.
    """
    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    sums = {name: torch.zeros_like(parameter, dtype=torch.float32) for name, parameter in named.items()}
    count = 0
    for sequence in _sequences(batches):
        model.zero_grad(set_to_none=True)
        tokens = int((sequence["labels"][:, 1:] != -100).sum())
        if tokens == 0:
            continue
        (model(**sequence).loss * tokens).backward()
        for name, parameter in named.items():
            if parameter.grad is not None:
                sums[name] += parameter.grad.float().square()
        count += 1
    model.zero_grad(set_to_none=True)
    return {name: total / max(count, 1) for name, total in sums.items()}


@torch.no_grad()
def gram_matrices(
    model: nn.Module, batches: Iterable[Batch], modules: Collection[str] | None = None
) -> dict[str, torch.Tensor]:
    """Mean of x x^T over the inputs x of linear layers, without padding.

    The matrix of a 7B model's widest layer takes 1.4 GB: request a few modules at a time and pass over the data again.

    Args:
        model: In evaluation mode.
        batches: Tensors (B, T): input_ids, attention_mask, ...
        modules: Some of `linear_layers`; None takes all.

    Returns:
        `<module>.weight` -> (in, in), float32.
    """
    chosen = {name: layer for name, layer in linear_layers(model).items() if modules is None or name in modules}
    sums = {name: torch.zeros(module.in_features, module.in_features) for name, module in chosen.items()}
    tokens = 0
    mask = torch.empty(0)

    def gather(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            rows = inputs[0].reshape(-1, inputs[0].shape[-1])[mask].float()
            sums[name] += (rows.T @ rows).cpu()

        return hook

    with ExitStack() as hooks:
        for name, module in chosen.items():
            hooks.callback(module.register_forward_pre_hook(gather(name)).remove)
        for batch in batches:
            mask = batch["attention_mask"].reshape(-1).bool()
            tokens += int(mask.sum())
            model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    return {f"{name}.weight": total / max(tokens, 1) for name, total in sums.items()}


def linear_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """The linear layers that RegMean merges by regression: all but the output head."""
    return {
        name: module for name, module in model.named_modules() if isinstance(module, nn.Linear) and name != "lm_head"
    }


def memory_groups(layers: Mapping[str, nn.Linear], limit: int) -> list[list[str]]:
    """Layers in order, grouped so that the Gram matrices of a group fit into memory together.

    Args:
        layers: By name.
        limit: Bytes; a larger matrix gets its own group.
    """
    groups: list[list[str]] = [[]]
    held = 0
    for name, layer in layers.items():
        size = 4 * layer.in_features**2
        if groups[-1] and held + size > limit:
            groups.append([])
            held = 0
        groups[-1].append(name)
        held += size
    return groups


def _sequences(batches: Iterable[Batch]) -> Iterable[dict[str, torch.Tensor]]:
    for batch in batches:
        for index in range(batch["input_ids"].shape[0]):
            yield {name: tensor[index : index + 1] for name, tensor in batch.items()}
