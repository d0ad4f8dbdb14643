"""The loss of a micro-batch, token by token, without the logits of all tokens at once.

B lines, C projected columns, P predicted tokens, d width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from src.data.collate import Batch

LOGITS = 2**29  # held at once; with their float32 copy and its gradients they take 12 bytes each, 6 GiB


def token_losses(network: PreTrainedModel, micro: Batch, logits_at_once: int = LOGITS) -> torch.Tensor:
    """Cross-entropy of every answer token, in float32; prompt tokens are never projected onto the vocabulary.

    Args:
        network: A causal language model of transformers, whole or sharded.
        micro: A micro-batch of `src.data.collate`, on the network's device.
        logits_at_once: Above this many, they are computed in portions and again in the backward pass.

    Returns:
        Losses (P), in the order of `micro["targets"]`.
    """
    head = network.get_output_embeddings()
    assert isinstance(head, torch.nn.Linear)
    with _losses_for_logits(head, micro, logits_at_once):
        losses: torch.Tensor = network(**micro["inputs"], use_cache=False).logits
    return losses


@contextmanager
def _losses_for_logits(head: torch.nn.Linear, micro: Batch, logits_at_once: int) -> Iterator[None]:
    """The output head gives losses meanwhile; it runs inside the network, where a sharded one has its weights."""
    head.forward = partial(_head_losses, head, micro["picked"], micro["targets"], logits_at_once)  # type: ignore[method-assign]
    try:
        yield
    finally:
        del head.forward


def _head_losses(
    head: torch.nn.Linear, picked: torch.Tensor, targets: torch.Tensor, logits_at_once: int, hidden: torch.Tensor
) -> torch.Tensor:
    rows = hidden.flatten(0, 1)  # B * C, d
    if len(picked) != len(rows):
        rows = rows[picked]
    size = max(1, logits_at_once // head.weight.shape[0])
    if len(rows) <= size:
        return _cross_entropy(head, rows, targets)
    parts = zip(rows.split(size), targets.split(size), strict=True)
    return torch.cat([checkpoint(_cross_entropy, head, *part, use_reentrant=False) for part in parts])


def _cross_entropy(head: torch.nn.Linear, rows: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    logits = F.linear(rows, head.weight, head.bias)  # P, V
    return F.cross_entropy(logits.float(), targets, reduction="none")
