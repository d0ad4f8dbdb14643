"""Floating point operations of a training step, and what the device can do: the two sides of MFU.

d width of the model, V vocabulary.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from src.data.collate import Batch

FORWARD_AND_BACKWARD = 3  # the backward pass multiplies twice as much as the forward pass; recomputing does not count
SIDE = 8192


@dataclass(frozen=True)
class StepFlops:
    """Operations that the model needs, whatever is spent besides (arXiv 2204.02311, appendix B).

    Args:
        body: Weights of all matrices of the decoder layers: each multiplies and adds once a token.
        head: Weights of the output head; it runs on answer tokens only.
        attention: Summed over layers, the width of all heads: causal scores and sums cost 2 * 2 * width * length^2 / 2
            a document.
    """

    body: int
    head: int
    attention: int

    @classmethod
    def of(cls, network: PreTrainedModel) -> StepFlops:
        """Those of a network, sharded or not."""
        config = network.config
        head_width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        layers = [(name, p) for name, p in network.named_parameters() if ".layers." in name and p.ndim == 2]
        return cls(
            body=sum(parameter.numel() for _, parameter in layers),
            head=config.vocab_size * config.hidden_size,
            attention=config.num_hidden_layers * config.num_attention_heads * head_width,
        )

    def __call__(self, batch: Batch) -> float:
        """Operations of a step over all ranks."""
        multiplied = self.body * batch["tokens"] + self.head * batch["answer_tokens"]
        return float(FORWARD_AND_BACKWARD * (2 * multiplied + 2 * self.attention * batch["squares"]))


def measured_peak(dtype: torch.dtype, side: int = SIDE, repeats: int = 20) -> float:
    """Operations a second that this GPU reaches on square matrix products: the rate that MFU is a share of."""
    left, right = (torch.randn(side, side, device="cuda", dtype=dtype) for _ in range(2))
    for _ in range(3):
        left @ right
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(repeats):
        left @ right
    torch.cuda.synchronize()
    return 2.0 * side**3 * repeats / (time.perf_counter() - started)
