"""Floating point operations of a training step and of the device: the two sides of MFU.

d width of the model, V vocabulary.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from src.data.collate import Batch

# The backward pass takes twice the products of the forward pass, or the same number for frozen weights;
# recomputation does not count.
TRAINED, FROZEN = 3, 2
SIDE = 8192


@dataclass(frozen=True)
class StepFlops:
    """Operations that the model needs, without recomputation (arXiv 2204.02311, appendix B).

    Args:
        body: Weights of all matrices of the decoder layers, times the number of products per token.
        head: The same of the output head; it runs on answer tokens only.
        attention: Summed over layers, the width of all heads, times the passes: causal scores and sums cost
            2 * 2 * width * length^2 / 2 per document.
    """

    body: int
    head: int
    attention: int

    @classmethod
    def of(cls, network: PreTrainedModel) -> StepFlops:
        """Count the operations of a network, which may be sharded, quantized or have adapters."""
        config = network.config
        head_width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        layers = [(name, p) for name, p in network.named_parameters() if ".layers." in name and p.ndim == 2]
        head = network.get_output_embeddings().weight
        assert isinstance(head, torch.Tensor)
        return cls(
            body=sum(_size(parameter) * _passes(parameter) for _, parameter in layers),
            head=config.vocab_size * config.hidden_size * _passes(head),
            attention=config.num_hidden_layers * config.num_attention_heads * head_width * TRAINED,
        )

    def __call__(self, batch: Batch) -> float:
        """Operations of a step over all ranks."""
        multiplied = self.body * batch["tokens"] + self.head * batch["answer_tokens"]
        return float(2 * multiplied + 2 * self.attention * batch["squares"])


def _passes(weight: torch.Tensor) -> int:
    return TRAINED if weight.requires_grad else FROZEN


def _size(weight: torch.Tensor) -> int:
    """Number of elements; a packed 4-bit tensor counts the elements it encodes."""
    quantized = getattr(weight, "quant_state", None)
    return weight.numel() if quantized is None else math.prod(quantized.shape)


def measured_peak(dtype: torch.dtype, side: int = SIDE, repeats: int = 20) -> float:
    """Operations per second that this GPU reaches on square matrix products: the reference of MFU."""
    left, right = (torch.randn(side, side, device="cuda", dtype=dtype) for _ in range(2))
    for _ in range(3):
        left @ right
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(repeats):
        left @ right
    torch.cuda.synchronize()
    return 2.0 * side**3 * repeats / (time.perf_counter() - started)
