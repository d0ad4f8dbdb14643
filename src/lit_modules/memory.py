"""What a training run needs on each device, before anything is allocated, and what would fit if it does not.

An estimate of the large parts; it leaves room for the rest. N weights, V vocabulary, d width, f inner width of the MLP.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import psutil
import torch
from transformers import PreTrainedConfig

from src.utils.errors import UserError

GIB = 2**30
MOMENTS = {"adamw": 8.0, "adamw8bit": 2.1, "paged_adamw8bit": 0.0}  # bytes a trained weight; paged ones can leave
HEAD_LOGITS = 2**29 * 10  # bytes, at most (see src.lit_modules.loss)
RESERVE = 0.92  # share of the device's memory that may be planned: fragments and the driver take the rest


@dataclass(frozen=True)
class Demand:
    """What decides the memory of a run.

    Args:
        weights: N.
        trained: Of them with a gradient (adapters: their own).
        largest_layer: Weights of a decoder layer.
        outside: Weights of embedding and head.
        layers: Decoder layers.
        width: d.
        inner: f.
        vocabulary: V.
        lines: Rows or packs of a micro-batch.
        max_length: Tokens of each.
        optimizer: Kind of the optimiser.
        half: Whether matrices are multiplied in half precision.
        checkpointing: Whether activations are recomputed.
        quantised: Whether frozen weights are held in 4 bits.
        ranks: Over which the network is divided.
    """

    weights: int
    trained: int
    largest_layer: int
    outside: int
    layers: int
    width: int
    inner: int
    vocabulary: int
    lines: int
    max_length: int
    optimizer: str = "adamw"
    half: bool = True
    checkpointing: bool = True
    quantised: bool = False
    ranks: int = 1

    @property
    def bytes(self) -> float:
        """Of each device."""
        return self.state + self.copies + self.activations

    @property
    def state(self) -> float:
        """Master weights, gradients, moments, and frozen weights, divided over the ranks."""
        frozen = 0.55 if self.quantised else 2.0 if self.half else 4.0
        trained = self.trained * (8.0 + MOMENTS[self.optimizer])
        return ((self.weights - min(self.trained, self.weights)) * frozen + trained) / self.ranks

    @property
    def copies(self) -> float:
        """Half-precision weights of all layers on one device; of two layers and what is around them on several."""
        whole = self.trained >= self.weights
        if self.ranks > 1:
            size = 2 if self.half else 4
            return (2 * self.largest_layer + self.outside) * (size + 4 * whole)
        return 2.0 * self.weights if self.half and whole else 0.0

    @property
    def activations(self) -> float:
        """What the backward pass needs of the forward pass, and the logits."""
        size, tokens = 2 if self.half else 4, self.lines * self.max_length
        layer = tokens * (10 * self.width + 4 * self.inner) * size
        kept = self.layers * tokens * self.width * 4 + layer if self.checkpointing else self.layers * layer
        return kept + min(HEAD_LOGITS, tokens * self.vocabulary * 10)


def demand(
    config: PreTrainedConfig, lines: int, max_length: int, *, rank_of_adapter: int | None = None, **how: object
) -> Demand:
    """The demand of a network of this config.

    Args:
        config: Of a decoder with gated MLPs.
        lines: Rows or packs of a micro-batch.
        max_length: Tokens of each.
        rank_of_adapter: Inner dimension of adapters on all linear layers; None: all weights are trained.
        **how: Further fields of `Demand`.
    """
    d, f, heads = config.hidden_size, config.intermediate_size, config.num_attention_heads
    head_width = getattr(config, "head_dim", None) or d // heads
    shapes = [(d, heads * head_width), (heads * head_width, d), *[(d, config.num_key_value_heads * head_width)] * 2]
    shapes += [(d, f), (d, f), (f, d)]
    layer = sum(rows * columns for rows, columns in shapes)
    outside = config.vocab_size * d * (1 if config.tie_word_embeddings else 2)
    weights = config.num_hidden_layers * layer + outside
    adapters = config.num_hidden_layers * sum(rows + columns for rows, columns in shapes)
    trained = weights if rank_of_adapter is None else adapters * rank_of_adapter
    return Demand(
        weights, trained, layer, outside, config.num_hidden_layers, d, f, config.vocab_size, lines, max_length,
        **how,  # type: ignore[arg-type]
    )  # fmt: skip


def require_memory(need: Demand, available: float, what: str) -> None:
    """Refuse a run that cannot fit.

    Args:
        need: What it needs.
        available: Bytes of each device.
        what: The device in the message, e.g. "a GPU".

    Raises:
        UserError: It needs more; changes that would fit are listed with what they need.
    """
    room = RESERVE * available
    if need.bytes <= room:
        return
    fitting = [f"{change} ({one.bytes / GIB:.0f} GiB)" for change, one in _changes(need, room) if one.bytes <= room]
    ways = f"would fit: {', '.join(fitting)}" if fitting else "nothing of this would fit: take a smaller model"
    raise UserError(
        f"this run needs about {need.bytes / GIB:.0f} GiB of {what}, and there are {available / GIB:.0f} GiB "
        f"(weights, gradients and moments {need.state / GIB:.0f}, half-precision copies {need.copies / GIB:.0f}, "
        f"activations {need.activations / GIB:.0f}); {ways}"
    )


def device_memory(gpu: bool) -> float:
    """Bytes of this rank's device."""
    if gpu:
        return float(torch.cuda.get_device_properties(0).total_memory)
    return float(psutil.virtual_memory().total)


def _changes(need: Demand, room: float) -> Iterator[tuple[str, Demand]]:
    if not need.checkpointing:
        need = replace(need, checkpointing=True)
        yield "model.gradient_checkpointing=true", need
    if need.lines > 1:
        need = replace(need, lines=1)
        yield "strategy.micro_batch=1", need
    single = need.ranks == 1 and not need.quantised
    if single and need.optimizer == "adamw":
        yield "and with that optimizer=adamw8bit", replace(need, optimizer="adamw8bit")
    more = (replace(need, ranks=need.ranks * 2**power) for power in range(1, 7))
    enough = next((one for one in more if one.bytes <= room), None)
    if enough is not None:
        yield f"{enough.ranks} of them with trainer=fsdp", enough
    if need.trained >= need.weights:
        adapters = replace(need, trained=need.weights // 100)
        yield "model.adapter=lora", adapters
        yield "model.adapter=qlora", replace(adapters, quantised=True, ranks=1)
