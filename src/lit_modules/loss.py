"""The loss of a micro-batch, token by token, without holding the logits of all tokens at once.

B lines, C projected columns, P predicted tokens, d width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from src.data.collate import Batch

LOGITS = 2**27  # held at once; with their float32 copy and its gradients they take 12 bytes each, 1.5 GiB

Scorer = Callable[[torch.nn.Linear, torch.Tensor, torch.Tensor], torch.Tensor]  # head, rows (P, d), targets (P)


def token_losses(network: PreTrainedModel, micro: Batch, logits_at_once: int = LOGITS) -> torch.Tensor:
    """Cross-entropy of every answer token, in float32; prompt tokens are never projected onto the vocabulary.

    Args:
        network: A causal language model of transformers, whole or sharded.
        micro: A micro-batch of `src.data.collate`, on the network's device.
        logits_at_once: If there are more, they are computed in portions and recomputed in the backward pass.

    Returns:
        Losses (P), in the order of `micro["targets"]`.
    """
    return _scores(network, micro, _cross_entropy, logits_at_once)


@torch.no_grad()
def token_losses_and_hits(network: PreTrainedModel, micro: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """`token_losses`, and whether the most probable token is the right one; without gradients.

    Returns:
        Losses (P) and hits (P), 1 or 0.
    """
    losses, hits = _scores(network, micro, _cross_entropy_and_hits, LOGITS).unbind(dim=1)
    return losses, hits


def _scores(network: PreTrainedModel, micro: Batch, scorer: Scorer, logits_at_once: int) -> torch.Tensor:
    head = network.get_output_embeddings()
    assert isinstance(head, torch.nn.Linear)
    with _scores_for_logits(head, micro, scorer, logits_at_once):
        scores: torch.Tensor = network(**micro["inputs"], use_cache=False).logits
    return scores


@contextmanager
def _scores_for_logits(head: torch.nn.Linear, micro: Batch, scorer: Scorer, logits_at_once: int) -> Iterator[None]:
    """Let the output head return scores inside this context.

    The scores are computed inside the network, because only there are a sharded head's weights gathered.
    """
    head.forward = partial(_in_portions, scorer, head, micro["picked"], micro["targets"], logits_at_once)  # type: ignore[method-assign]
    try:
        yield
    finally:
        del head.forward


def _in_portions(
    scorer: Scorer,
    head: torch.nn.Linear,
    picked: torch.Tensor,
    targets: torch.Tensor,
    logits_at_once: int,
    hidden: torch.Tensor,
) -> torch.Tensor:
    rows = hidden.flatten(0, 1)  # B * C, d
    if len(picked) != len(rows):
        rows = rows[picked]
    size = max(1, logits_at_once // head.weight.shape[0])
    if len(rows) <= size:
        return scorer(head, rows, targets)
    parts = zip(rows.split(size), targets.split(size), strict=True)
    return torch.cat([checkpoint(scorer, head, *part, use_reentrant=False) for part in parts])


def _cross_entropy(head: torch.nn.Linear, rows: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    logits = F.linear(rows, head.weight, head.bias)  # P, V
    return F.cross_entropy(logits.float(), targets, reduction="none")


def _cross_entropy_and_hits(head: torch.nn.Linear, rows: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    logits = F.linear(rows, head.weight, head.bias)  # P, V
    losses = F.cross_entropy(logits.float(), targets, reduction="none")
    return torch.stack([losses, (logits.argmax(dim=-1) == targets).float()], dim=1)  # P, 2
