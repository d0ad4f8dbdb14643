"""Estimate the memory that a training run needs on each device, before anything is allocated.

It covers the large parts and leaves room for the rest. N weights, V vocabulary, d width, f inner width of the MLP.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import psutil
import torch
from transformers import PreTrainedConfig

from src.lit_modules.loss import LOGITS
from src.utils.errors import UserError

GIB = 2**30
MOMENTS = {
    "adamw": 8.0,
    "adamw8bit": 2.1,
    "paged_adamw8bit": 0.0,
}  # bytes per trained weight; paged moments can leave the GPU
# Bytes per token kept for the backward pass: between layers and inside one (both times d), and in the MLP (times f).
# Under autocast, norms return float32, which is cast for each matrix that reads it.
STREAM = {"float32": (4, 40, 16), "autocast": (2, 30, 8), "sharded": (2, 20, 8)}
LOGIT = 12  # bytes: in half precision and float32, and gradients of both
ENOUGH_TOKENS = 2048  # of a forward pass: with fewer, a GPU gains less from a free step than it loses to small products
RESERVE = 0.92  # share of the device's memory that may be planned; fragmentation and the driver take the rest


@dataclass(frozen=True)
class Demand:
    """Sizes and settings that determine the memory of a run.

    Args:
        weights: N.
        trained: Weights with a gradient; with adapters, those of the adapters.
        largest_layer: Weights of a decoder layer.
        outside: Weights of embedding and head.
        layers: Decoder layers.
        width: d.
        inner: f.
        vocabulary: V.
        lines: Rows or packs of a micro-batch.
        max_length: Tokens of each.
        optimizer: Kind of the optimizer.
        half: Whether matrices are multiplied in half precision.
        checkpointing: Whether activations are recomputed.
        quantized: Whether frozen weights are held in 4 bits.
        ranks: Number of processes that the network is sharded over.
        tied: Whether embedding and head share their weights.
        whole_gradients: Whether each process sums the gradients of its micro-batches before they are divided.
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
    quantized: bool = False
    ranks: int = 1
    tied: bool = True
    whole_gradients: bool = False

    @property
    def bytes(self) -> float:
        """Total per device."""
        return self.state + self.copies + self.activations

    @property
    def state(self) -> float:
        """Master weights, gradients, moments and frozen weights, divided over the ranks."""
        frozen = 0.55 if self.quantized else 2.0 if self.half else 4.0
        trained = self.trained * (8.0 + MOMENTS[self.optimizer])
        if self.optimizer == "adamw8bit" and self.trained >= self.weights:  # moments of the embedding stay in 32 bits
            trained += self.vocabulary * self.width * (MOMENTS["adamw"] - MOMENTS["adamw8bit"])
        whole = 4.0 * self.trained if self.whole_gradients and self.ranks > 1 else 0.0
        return ((self.weights - min(self.trained, self.weights)) * frozen + trained) / self.ranks + whole

    @property
    def copies(self) -> float:
        """Weights in the type used for products, and gradients before they are summed.

        On one device: half-precision weights of all layers, or of one at a time if activations are recomputed, and the
        head's gradient. On several: two whole layers, and embedding or head, whichever is in use, with their gradients.
        """
        whole, size = self.trained >= self.weights, 2 if self.half else 4
        if self.ranks > 1:
            return float((2 * self.largest_layer + self.outside / (1 if self.tied else 2)) * (size + 4 * whole))
        cast = self.largest_layer + self.outside if self.checkpointing else self.weights
        return whole * (2.0 * cast * self.half + 4.0 * self.outside)

    @property
    def activations(self) -> float:
        """Activations kept for the backward pass, and the logits."""
        tokens = self.lines * self.max_length
        between, inside, gates = STREAM[self._arithmetic]
        layer = tokens * (inside * self.width + gates * self.inner)
        logits = min(LOGITS, tokens * self.vocabulary) * LOGIT
        if self.checkpointing:  # layers are recomputed after the logits are freed
            return self.layers * tokens * self.width * between + max(layer, logits)
        return self.layers * layer + logits

    @property
    def _arithmetic(self) -> str:
        if not self.half:
            return "float32"
        return "sharded" if self.ranks > 1 else "autocast"


def demand(
    config: PreTrainedConfig, lines: int, max_length: int, *, rank_of_adapter: int | None = None, **how: object
) -> Demand:
    """Build the demand of a network from its config.

    Args:
        config: A decoder with gated MLPs.
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
        tied=config.tie_word_embeddings, **how,  # type: ignore[arg-type]
    )  # fmt: skip


def fits(need: Demand, available: float) -> bool:
    """Return true if a run fits into `available` bytes per device, with some memory to spare."""
    return need.bytes <= RESERVE * available


def cheapest(need: Demand, available: float, *, smaller: bool = True) -> Demand:
    """Choose how to save memory where the settings leave it open, from free to slow.

    Fewer lines per forward pass cost nothing while they hold enough tokens; recomputing activations costs a third more
    operations.

    Args:
        need: With the largest permitted number of lines.
        available: Bytes per device.
        smaller: Whether fewer lines may avoid recomputation; not where each pass waits for weights from other nodes.

    Returns:
        The first choice that fits, or the one that needs the least memory.
    """
    halves = [lines for power in range(need.lines.bit_length()) if (lines := need.lines >> power)]
    filled = [
        lines for lines in halves if lines == need.lines or (smaller and lines * need.max_length >= ENOUGH_TOKENS)
    ]
    choices = [replace(need, checkpointing=False, lines=lines) for lines in filled]
    choices += [replace(need, checkpointing=True, lines=lines) for lines in halves]
    return next((choice for choice in choices if fits(choice, available)), choices[-1])


def require_memory(need: Demand, available: float, gpu: bool) -> None:
    """Refuse a run that cannot fit.

    Args:
        need: Its demand.
        available: Bytes per device.
        gpu: Whether the devices are GPUs; the proposals then include more of them.

    Raises:
        UserError: It needs more; the message lists changes that would fit.
    """
    if fits(need, available):
        return
    changes = _changes(need, available, gpu)
    fitting = [f"{change} ({one.bytes / GIB:.0f} GiB)" for change, one in changes if fits(one, available)]
    ways = f"would fit: {', '.join(fitting)}" if fitting else "no setting makes it fit; use a smaller model"
    raise UserError(
        f"this run needs about {need.bytes / GIB:.0f} GiB of {'GPU memory' if gpu else 'memory'}, but only "
        f"{available / GIB:.0f} GiB are available (weights, gradients and moments {need.state / GIB:.0f}, "
        f"half-precision copies {need.copies / GIB:.0f}, activations {need.activations / GIB:.0f}); {ways}"
    )


def device_memory(gpu: bool) -> float:
    """Bytes of this rank's device."""
    if gpu:
        return float(torch.cuda.get_device_properties(0).total_memory)
    return float(psutil.virtual_memory().total)


def _changes(need: Demand, available: float, gpu: bool) -> Iterator[tuple[str, Demand]]:
    """Yield changes from harmless to drastic; each one includes the earlier ones that cost only time."""
    harmless = list[str]()
    if need.lines > 1:
        need = replace(need, lines=1)
        harmless.append("strategy.micro_batch=1")
        yield " ".join(harmless), need
    if not need.checkpointing:
        need = replace(need, checkpointing=True)
        harmless.append("model.gradient_checkpointing=true")
        yield " ".join(harmless), need
    if need.ranks == 1 and not need.quantized:
        smaller = list(MOMENTS)[list(MOMENTS).index(need.optimizer) + 1 :]
        for kind in smaller:
            yield " ".join([*harmless, f"optimizer={kind}"]), replace(need, optimizer=kind)
    more = (replace(need, ranks=need.ranks * 2**power) for power in range(1, 7)) if gpu else iter(())
    enough = next((one for one in more if fits(one, available)), None)
    if enough is not None:
        yield f"{enough.ranks} of them with {' '.join(['trainer=fsdp', *harmless])}", enough
    if need.trained >= need.weights:
        adapters = replace(need, trained=need.weights // 100)
        yield " ".join([*harmless, "model.adapter=lora"]), adapters
        yield " ".join([*harmless, "model.adapter=qlora"]), replace(adapters, quantized=True, ranks=1)
